-- What is to be done for things that are in place ($1 kind, $2 keys, $3 whether
-- they were put there since something was lost), by key; only where something
-- is. Rows that were written, verified or asked to be verified since $4 are left
-- out of the checks.
-- Nothing is locked: reconcile_unwanted.sql decides again.
SELECT w.key, coalesce(r.version, 0),
       CASE WHEN r.kind IS NULL THEN 'orphan'
            WHEN r.deleted_at IS NOT NULL THEN 'back'
            ELSE 'check' END
FROM unnest($2::text[], $3::boolean[]) AS w (key, since)
LEFT JOIN LATERAL (
    SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key LIMIT 1
) AS r ON true
WHERE r.kind IS NULL
   OR r.synced_version = r.version AND (r.deleted_at IS NOT NULL OR w.since AND coalesce(greatest(r.verified_at, r.check_asked_at), '-infinity') < $4)
ORDER BY w.key COLLATE "C"
