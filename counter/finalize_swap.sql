-- The exact values of some shards ($2), which are locked, all at the tick $7, for
-- the scan $1: what it found, plus what came after it up to the tick $6 ($3 to $5:
-- scopes, sizes, items), plus the rest. $8 is the job. A shard inside of a step
-- has, of the tick $9, the events up to the id $10: under load it is hardly ever
-- between two steps.
--
-- added is one list, so that the planner expects more than one row and hashes it;
-- nested loops over 60,000 scopes and what came after took seconds.
WITH s AS MATERIALIZED (
    SELECT s.*, low.snapshot AS low, high.snapshot AS high, coalesce(next.snapshot, high.snapshot) AS next
    FROM casq.scans AS s
    CROSS JOIN casq.ticks AS low
    CROSS JOIN casq.ticks AS high
    LEFT JOIN casq.ticks AS next ON next.id = $9 AND $9 > 0
    WHERE s.id = $1 AND low.id = $6 AND high.id = $7
), added AS MATERIALIZED (
    SELECT a.scope_id, sum(a.size) AS size, sum(a.items) AS items
    FROM (
        SELECT w.scope_id, w.size::numeric AS size, w.items
        FROM unnest($3::text[], $4::text[], $5::bigint[]) AS w (scope_id, size, items)
        UNION ALL
        SELECT e.scope_id, e.size_delta, e.item_delta
        FROM s
        CROSS JOIN LATERAL (
            SELECT * FROM casq.events AS e WHERE e.xid >= pg_snapshot_xmax(s.low) AND e.xid < pg_snapshot_xmax(s.next)
            UNION ALL
            SELECT e.* FROM pg_snapshot_xip(s.low) AS late (xid)
            JOIN casq.events AS e ON e.xid = late.xid
        ) AS e
        WHERE e.kind = s.kind AND e.scope_id IS NOT NULL
          AND e.xid <> ALL (s.xids)
          AND (pg_visible_in_snapshot(e.xid, s.high) OR e.id <= $10 AND pg_visible_in_snapshot(e.xid, s.next))
    ) AS a
    GROUP BY a.scope_id
), exact AS MATERIALIZED (
    SELECT r.id, r.kind, r.scope_id, r.shard,
           r.scanned_size + coalesce(a.size, 0) AS size, r.scanned_items + coalesce(a.items, 0) AS items,
           coalesce(c.size, 0) AS old_size, coalesce(c.items, 0) AS old_items
    FROM casq.refreshes AS r
    LEFT JOIN added AS a ON a.scope_id = r.scope_id
    LEFT JOIN casq.counters AS c ON c.kind = r.kind AND c.scope_id = r.scope_id
    WHERE r.scan = $1 AND r.shard = ANY ($2) AND r.state = 'finalizing'
), swapped AS (
    INSERT INTO casq.counters AS c (kind, scope_id, shard, size, items, generation, refresh)
    SELECT e.kind, e.scope_id, e.shard, e.size, e.items, s.generation, e.id
    FROM exact AS e, s
    WHERE NOT s.compare
    ORDER BY e.scope_id
    ON CONFLICT (kind, scope_id) DO UPDATE
    SET size = excluded.size, items = excluded.items, generation = excluded.generation, refresh = excluded.refresh,
        updated_at = clock_timestamp()
)
UPDATE casq.refreshes AS r
SET state = 'done', finished_at = clock_timestamp(), finalize_job = $8,
    flush_epoch = (SELECT p.epoch FROM casq.counter_shards AS p WHERE p.shard = e.shard),
    old_size = e.old_size, new_size = e.size, old_items = e.old_items, new_items = e.items
FROM exact AS e
WHERE r.id = e.id
