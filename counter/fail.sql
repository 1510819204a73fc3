WITH over AS (
    UPDATE casq.scans SET finished_at = clock_timestamp(), token = NULL
    WHERE id = $1 AND finished_at IS NULL
    RETURNING id
)
UPDATE casq.refreshes AS r
SET state = 'failed', finished_at = clock_timestamp(), reason = $2
FROM over
WHERE r.scan = over.id AND r.finished_at IS NULL
