-- Deletes at most $3 rows that an earlier run of a scan ($1) has stored, which finds
-- its scopes itself, for its run $2. The scan is locked: a run that has lost its
-- token meanwhile, or has ended the scan and has not heard of it, takes nothing
-- from what was found. Is it this run's, and how many were deleted?
WITH mine AS MATERIALIZED (
    SELECT id FROM casq.scans WHERE id = $1 AND token = $2 AND scanned_at IS NULL FOR SHARE
), forgotten AS (
    DELETE FROM casq.refreshes
    WHERE id IN (
        SELECT r.id FROM mine
        JOIN casq.refreshes AS r ON r.scan = mine.id AND r.scope_id IS NOT NULL
        LIMIT $3
    )
    RETURNING 1
)
SELECT EXISTS (SELECT FROM mine), (SELECT count(*) FROM forgotten)
