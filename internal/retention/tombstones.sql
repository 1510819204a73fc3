-- The oldest tombstones that may go ($1: how long they are kept), at most $2:
-- the thing was removed, and nobody is at it.
SELECT kind, resource_id FROM casq.registry
WHERE deleted_at < clock_timestamp() - $1::interval
  AND synced_version = version AND claim IS NULL
ORDER BY deleted_at
LIMIT $2
