SELECT id, coalesce(size, 0) FROM artifacts
WHERE project = $1 AND id > $2 AND id <= $3
ORDER BY id LIMIT $4
