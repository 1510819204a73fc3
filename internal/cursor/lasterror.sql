UPDATE casq.cursors
SET last_error = $3
WHERE name = $1 AND epoch = $2
