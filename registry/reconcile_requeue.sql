-- A job for each row ($1 kind, $2 keys, $3 versions, locked already) that still
-- has work to do, and that nobody has in hand. No new version: another job of
-- the same token is harmless, and the runs of one version are counted together.
UPDATE casq.registry AS r
SET queued_at = clock_timestamp()
FROM unnest(array_fill($1::text, ARRAY[cardinality($2::text[])]), $2::text[], $3::bigint[]) AS w (kind, key, version)
WHERE r.kind = w.kind AND r.resource_id = w.key AND r.version = w.version
  AND r.synced_version IS DISTINCT FROM r.version
  AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
RETURNING r.kind, r.resource_id, r.version, r.deleted_at IS NOT NULL
