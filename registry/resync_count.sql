-- How many rows of a kind ($1) a resync would raise; only failed ones when $2.
SELECT count(*)
FROM casq.registry AS r
WHERE r.kind = $1
  AND (r.deleted_at IS NULL OR r.synced_version IS DISTINCT FROM r.version)
  AND (NOT $2 OR r.failed_version = r.version AND r.synced_version IS DISTINCT FROM r.version)
