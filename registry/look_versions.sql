SELECT r.resource_id, r.version FROM unnest($2::text[]) AS w (key)
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key AND r.deleted_at IS NULL LIMIT 1
) AS r
