-- Locks the page of the rows of a kind ($1) beyond a key ($2), $3 of them at most,
-- and returns their keys in order.
SELECT r.resource_id
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id > $2
ORDER BY r.resource_id
LIMIT $3
FOR NO KEY UPDATE
