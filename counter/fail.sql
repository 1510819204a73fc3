-- Fails a scan ($1) for the reason $2; with all of it, when it is a part.
WITH asked AS (
    SELECT coalesce(w.id, s.id) AS id FROM casq.scans AS s
    LEFT JOIN casq.scans AS w ON w.id = s.part_of AND w.in_parts
    WHERE s.id = $1
), locked AS MATERIALIZED (
    SELECT s.id FROM casq.scans AS s
    JOIN asked ON s.id = asked.id OR s.part_of = asked.id AND (SELECT in_parts FROM casq.scans WHERE id = asked.id)
    WHERE s.finished_at IS NULL
    ORDER BY s.id
    FOR UPDATE OF s
), over AS (
    UPDATE casq.scans AS s SET finished_at = clock_timestamp(), token = NULL
    FROM locked WHERE s.id = locked.id
    RETURNING s.id
)
UPDATE casq.refreshes AS r
SET state = 'failed', finished_at = clock_timestamp(), reason = $2
FROM over
WHERE r.scan = over.id AND r.finished_at IS NULL
