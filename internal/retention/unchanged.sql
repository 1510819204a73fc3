-- Certificates of counters that a recount of all scopes, which has ended a while ago
-- ($1), has found as they were; at most $2. Those that were asked for by name stay,
-- and those that differed. While it is under way, its parts look for all of them.
DELETE FROM casq.refreshes WHERE id IN (
    SELECT r.id FROM casq.scans AS s
    LEFT JOIN casq.scans AS w ON w.id = s.part_of AND w.in_parts
    JOIN casq.refreshes AS r ON r.scan = s.id
    WHERE (s.whole OR s.part IN ('table', 'rest') OR w.id IS NOT NULL)
      AND s.finished_at < clock_timestamp() - $1::interval
      AND (w.id IS NULL OR w.finished_at < clock_timestamp() - $1::interval)
      AND r.scope_id IS NOT NULL AND r.state = 'done' AND r.drift_size = 0 AND r.drift_items = 0
    LIMIT $2
    FOR UPDATE OF r SKIP LOCKED
)
