-- How far the recounts of a scan ($1) are. Those of all scopes have a row for the
-- whole, which is open until they are over; they may be those of its parts.
SELECT count(*) FILTER (WHERE r.finished_at IS NULL),
       count(*) FILTER (WHERE r.scope_id IS NOT NULL),
       count(*) FILTER (WHERE r.state = 'done' AND r.scope_id IS NOT NULL),
       count(*) FILTER (WHERE r.state IN ('failed', 'cancelled')),
       count(*) FILTER (WHERE r.drift_size <> 0 OR r.drift_items <> 0),
       coalesce(min(r.reason), ''), coalesce(min(s.host), ''), coalesce(min(s.scanned_rows), 0), coalesce(min(s.tick), 0),
       coalesce(extract(epoch FROM max(r.finished_at) - min(r.requested_at)), 0)::float8
FROM casq.refreshes AS r
JOIN casq.scans AS s ON s.id = $1
WHERE r.scan = $1 OR r.scan IN (SELECT p.id FROM casq.scans AS p WHERE p.part_of = $1)
