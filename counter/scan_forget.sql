-- Deletes at most $3 rows that an earlier run of a scan ($1) has stored, which finds
-- its scopes itself, for its run $2. The scan is locked: a run that has lost its
-- token meanwhile takes nothing from the one that has it.
WITH mine AS MATERIALIZED (
    SELECT id FROM casq.scans WHERE id = $1 AND token = $2 FOR SHARE
)
DELETE FROM casq.refreshes
WHERE id IN (
    SELECT r.id FROM mine
    JOIN casq.refreshes AS r ON r.scan = mine.id AND r.scope_id IS NOT NULL
    LIMIT $3
)
