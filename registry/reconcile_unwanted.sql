-- Asks for the removal of things that are in place and not wanted ($1 kind, $2
-- keys, $3 versions, looked at in life $4 at tick $5): a tombstone for what has no
-- row (version 0), a new version of a tombstone that was carried out. Whoever
-- has written the row since then knows better. One statement, in key order: see
-- look_apply.sql.
INSERT INTO casq.registry AS r (kind, resource_id, version, life, event_id, tick, deleted_at, incarnation, payload)
SELECT $1, w.key, CASE WHEN w.version = 0 THEN nextval('casq.registry_version') ELSE w.version END,
       -- Every event that is still to come is newer.
       $4, 0, $5, clock_timestamp(), 2, '{}'
FROM unnest($2::text[], $3::bigint[]) AS w (key, version)
ORDER BY w.key COLLATE "C"
ON CONFLICT (kind, resource_id) DO UPDATE
SET version = nextval('casq.registry_version'),
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE r.deleted_at IS NOT NULL AND r.version = excluded.version AND r.synced_version = r.version
RETURNING kind, resource_id, version, true
