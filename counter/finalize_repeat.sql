WITH again AS (
    UPDATE casq.scans AS s
    SET token = NULL, process = NULL, scanned_at = NULL, shards = NULL
    WHERE s.id = $1 AND s.token = $2 AND s.finished_at IS NULL
    RETURNING s.id, s.kind
), created AS (
    UPDATE casq.refreshes AS r SET state = 'created', finalizing_at = NULL, scanned_size = NULL, scanned_items = NULL
    FROM again WHERE r.scan = again.id AND r.finished_at IS NULL
)
SELECT EXISTS (SELECT FROM casq.tracked AS t WHERE t.kind = again.kind AND t.scope_column IS NOT NULL) FROM again
