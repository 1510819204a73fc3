UPDATE casq.cursors
SET caught_up_to = CASE WHEN NOT $3 THEN clock_timestamp() - $4::interval END
WHERE name = $1 AND epoch = $2
