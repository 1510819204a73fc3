-- The keys of a kind ($1) just before and after a key ($2), in their order.
SELECT resource_id
FROM (
    (SELECT resource_id FROM casq.registry WHERE kind = $1 AND resource_id < $2 COLLATE "C"
     ORDER BY resource_id DESC LIMIT 2)
    UNION ALL
    (SELECT resource_id FROM casq.registry WHERE kind = $1 AND resource_id > $2 COLLATE "C"
     ORDER BY resource_id LIMIT 2)
) AS near
ORDER BY resource_id
