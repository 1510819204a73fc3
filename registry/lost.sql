SELECT w.claim
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS w (kind, resource_id, claim)
LEFT JOIN LATERAL (
    SELECT r.claim FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
) AS r ON true
WHERE r.claim IS DISTINCT FROM w.claim
