-- Puts what a selection of a kind ($1) has changed, and is left to be done, on the
-- list to wait for.
INSERT INTO pg_temp.asked (kind, resource_id, version)
SELECT r.kind, r.resource_id, r.version FROM casq.registry AS r
WHERE r.kind = $1 AND r.synced_version IS DISTINCT FROM r.version
  AND r.queued_at >= (SELECT s.changed_at FROM casq.selections AS s WHERE s.kind = $1)
