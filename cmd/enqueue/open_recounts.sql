-- Recounts that have not ended: the scans, and how many scopes each has left.
SELECT s.id, s.kind, s.compare, s.whole,
       CASE WHEN s.scanned_at IS NOT NULL THEN 'finalizing' WHEN s.started_at IS NOT NULL THEN 'running' ELSE 'created' END,
       (SELECT count(*) FROM casq.refreshes AS r WHERE r.scan = s.id AND r.finished_at IS NULL AND r.scope_id IS NOT NULL),
       s.requested_at
FROM casq.scans AS s
WHERE s.finished_at IS NULL
ORDER BY s.id
