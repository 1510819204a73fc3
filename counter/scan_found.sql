-- Stores sums (scopes $5, shards $6, sizes $7, items $8) of a scan ($1, kind $3;
-- whole $4) for its run $2.
WITH mine AS MATERIALIZED (
    SELECT id FROM casq.scans WHERE id = $1 AND token = $2 AND scanned_at IS NULL FOR SHARE
)
INSERT INTO casq.refreshes AS r (scan, kind, scope_id, shard, state, started_at, finalizing_at, scanned_size, scanned_items)
SELECT mine.id, $3, w.scope_id, w.shard, CASE WHEN $4 THEN 'finalizing' ELSE 'running' END,
       clock_timestamp(), CASE WHEN $4 THEN clock_timestamp() END, w.size::numeric, w.items
FROM mine, unnest($5::text[], $6::integer[], $7::text[], $8::bigint[]) AS w (scope_id, shard, size, items)
ON CONFLICT (scan, scope_id) DO UPDATE
SET scanned_size = excluded.scanned_size, scanned_items = excluded.scanned_items
