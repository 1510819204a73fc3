-- name: ScanForget
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

-- name: ScanForgetList
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

-- name: ScanSums
SELECT scope_id, size::text, items FROM casq.sum_by_scope($1, $2)

-- name: ScanFound
-- Stores sums (scopes $5, shards $6, sizes $7, items $8) of a scan ($1, kind $3;
-- all scopes: $4) for its run $2.
WITH mine AS MATERIALIZED (
    SELECT id FROM casq.scans WHERE id = $1 AND token = $2 AND scanned_at IS NULL FOR SHARE
)
INSERT INTO casq.refreshes AS r (scan, kind, scope_id, shard, state, started_at, finalizing_at, scanned_size, scanned_items)
SELECT mine.id, $3, w.scope_id, w.shard, CASE WHEN $4 THEN 'finalizing' ELSE 'running' END,
       clock_timestamp(), CASE WHEN $4 THEN clock_timestamp() END, w.size::numeric, w.items
FROM mine, unnest($5::text[], $6::integer[], $7::text[], $8::bigint[]) AS w (scope_id, shard, size, items)
ON CONFLICT (scan, scope_id) DO UPDATE
SET scanned_size = excluded.scanned_size, scanned_items = excluded.scanned_items
