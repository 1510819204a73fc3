-- How many of these things ($1 kind, $2 keys) have no live row.
SELECT count(*) FROM unnest($2::text[]) AS w (key)
LEFT JOIN LATERAL (
    SELECT true AS live FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key AND r.deleted_at IS NULL LIMIT 1
) AS r ON true
WHERE r.live IS NULL
