-- Forgets what an earlier run of a list ($1) has stored, for its run $2: a scope that
-- has no rows any more is not stored again, and has the sum zero.
WITH mine AS MATERIALIZED (
    SELECT id FROM casq.scans WHERE id = $1 AND token = $2 FOR SHARE
)
UPDATE casq.refreshes AS r SET scanned_size = NULL, scanned_items = NULL
FROM mine
WHERE r.scan = mine.id AND r.finished_at IS NULL AND r.scanned_items IS NOT NULL
