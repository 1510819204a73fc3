-- Locks the rows in the order of the arguments, which is key order. The
-- lateral join cannot be turned into a hash join over the whole registry.
SELECT FROM unnest($1::text[], $2::text[]) AS w (kind, resource_id)
CROSS JOIN LATERAL (
    SELECT FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
    FOR NO KEY UPDATE
) AS r
