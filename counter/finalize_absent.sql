-- Counters of shards ($2) that a scan of all scopes ($1) has found no rows for.
INSERT INTO casq.refreshes (scan, kind, scope_id, shard, state, started_at, finalizing_at, scanned_size, scanned_items)
SELECT s.id, s.kind, c.scope_id, c.shard, 'finalizing', s.started_at, s.scanned_at, 0, 0
FROM casq.scans AS s
JOIN casq.counters AS c ON c.kind = s.kind AND c.shard = ANY ($2)
WHERE s.id = $1 AND s.whole
  AND NOT EXISTS (SELECT FROM casq.refreshes AS r WHERE r.scan = s.id AND r.scope_id = c.scope_id)
ORDER BY c.scope_id
