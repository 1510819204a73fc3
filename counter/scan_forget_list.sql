-- Forgets what an earlier run of a list ($1) has stored, of at most $3 scopes, for its
-- run $2: a scope that has no rows any more is not stored again, and has the sum
-- zero. Is it this run's, and how many were forgotten?
WITH mine AS MATERIALIZED (
    SELECT id FROM casq.scans WHERE id = $1 AND token = $2 AND scanned_at IS NULL FOR SHARE
), forgotten AS (
    UPDATE casq.refreshes SET scanned_size = NULL, scanned_items = NULL
    WHERE id IN (
        SELECT r.id FROM mine
        JOIN casq.refreshes AS r ON r.scan = mine.id AND r.finished_at IS NULL AND r.scanned_items IS NOT NULL
        LIMIT $3
    )
    RETURNING 1
)
SELECT EXISTS (SELECT FROM mine), (SELECT count(*) FROM forgotten)
