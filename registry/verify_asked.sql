-- Notes that verifications of rows ($1 kind, $2 keys, $3 versions) are asked for, so
-- that the next reconcile asks for no others. A row that is locked is left out: to
-- wait for it could be in circles, and one verification too many does no harm.
UPDATE casq.registry AS r
SET check_asked_at = clock_timestamp()
FROM (
    SELECT q.kind, q.resource_id FROM unnest($2::text[], $3::bigint[]) AS w (key, version)
    CROSS JOIN LATERAL (
        SELECT q.kind, q.resource_id FROM casq.registry AS q
        WHERE q.kind = $1 AND q.resource_id = w.key AND q.version = w.version
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS q
) AS free
WHERE r.kind = free.kind AND r.resource_id = free.resource_id
