-- name: Load
-- The run $2 of the scan $1, if it waits for the swap. valid: the log is still
-- the one that it saw, and the kind has been tracked all the while.
SELECT s.kind, s.shards,
       EXISTS (SELECT FROM casq.ticks AS t WHERE t.id = s.tick AND t.nonce = s.nonce)
       AND s.timeline = (SELECT max(timeline) FROM casq.timelines)
       AND s.generation = (SELECT generation FROM casq.counter_kinds AS k WHERE k.kind = s.kind)
FROM casq.scans AS s
WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NOT NULL AND s.finished_at IS NULL

-- name: Repeat
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

-- name: Size
-- How far what came after the scan $1 can be summed up early: as far as its slowest
-- shard is. The newest tick may be one that they reach only when there is a newer
-- one. And how many counters it concerns.
SELECT greatest(s.tick, (SELECT min(t.id) FROM casq.counter_shards AS p
                         JOIN casq.ticks AS t ON t.id = p.tick AND t.nonce = p.nonce
                         WHERE p.shard = ANY (s.shards))),
       greatest((SELECT count(*) FROM casq.refreshes AS r WHERE r.scan = s.id AND r.finished_at IS NULL),
                (SELECT count(*) FROM casq.counters AS c WHERE s.all_scopes AND c.kind = s.kind))
FROM casq.scans AS s
WHERE s.id = $1

-- name: Sums
-- What events that the scan ($1) did not see have added, up to the tick $2.
SELECT e.scope_id, sum(e.size_delta)::text, sum(e.item_delta)::bigint
FROM casq.scans AS s
JOIN casq.ticks AS low ON low.id = s.tick
JOIN casq.ticks AS high ON high.id = $2
CROSS JOIN LATERAL (
    SELECT * FROM casq.events AS e WHERE e.xid >= pg_snapshot_xmax(low.snapshot) AND e.xid < pg_snapshot_xmax(high.snapshot)
    UNION ALL
    SELECT e.* FROM pg_snapshot_xip(low.snapshot) AS late (xid)
    JOIN casq.events AS e ON e.xid = late.xid
) AS e
WHERE s.id = $1 AND e.kind = s.kind AND e.scope_id IS NOT NULL
  AND e.xid <> ALL (s.xids)
  AND pg_visible_in_snapshot(e.xid, high.snapshot)
GROUP BY e.scope_id

-- name: Ready
-- Under the shard's lock: does its tick ($3) show all that the run ($2) of the scan
-- ($1) has seen, and all that was summed early ($4)? FOR SHARE: other shards are
-- swapped at the same time; whoever ends the scan, or cancels it, waits for them.
SELECT EXISTS (SELECT FROM casq.ticks AS t WHERE t.id = s.tick AND t.nonce = s.nonce)
       AND s.timeline = (SELECT max(timeline) FROM casq.timelines)
       AND s.generation = (SELECT generation FROM casq.counter_kinds AS k WHERE k.kind = s.kind),
       $3 >= s.tick AND $3 >= $4
       AND NOT EXISTS (
           SELECT FROM unnest(s.xids) AS x (xid), casq.ticks AS t
           WHERE t.id = $3 AND NOT pg_visible_in_snapshot(x.xid, t.snapshot)
       )
FROM casq.scans AS s
WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NOT NULL AND s.finished_at IS NULL
FOR SHARE

-- name: Absent
-- Counters of shards ($2) that a scan of all scopes ($1) has found no rows for.
INSERT INTO casq.refreshes (scan, kind, scope_id, shard, state, started_at, finalizing_at, scanned_size, scanned_items)
SELECT s.id, s.kind, c.scope_id, c.shard, 'finalizing', s.started_at, s.scanned_at, 0, 0
FROM casq.scans AS s
JOIN casq.counters AS c ON c.kind = s.kind AND c.shard = ANY ($2)
WHERE s.id = $1 AND s.all_scopes
  AND NOT EXISTS (SELECT FROM casq.refreshes AS r WHERE r.scan = s.id AND r.scope_id = c.scope_id)
ORDER BY c.scope_id

-- name: Swap
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

-- name: Differs
-- Does a comparison ($1) differ in some shards ($2)?
SELECT s.compare AND EXISTS (
    SELECT FROM casq.refreshes AS r
    WHERE r.scan = s.id AND r.shard = ANY ($2) AND (r.drift_size <> 0 OR r.drift_items <> 0))
FROM casq.scans AS s
WHERE s.id = $1

-- name: NoteDiffers
-- The counters of a kind ($1) differ: casq.health tells so until they are all recounted.
UPDATE casq.counter_kinds AS k SET differs_since = clock_timestamp() WHERE k.kind = $1 AND k.differs_since IS NULL

-- name: Done
-- The run $2 of the scan $1 has swapped all its shards in. One of all scopes makes
-- its kind complete: what it has not found has had no rows. $3 is the job that
-- flushes.
WITH over AS (
    UPDATE casq.scans SET finished_at = clock_timestamp(), flush_job = $3
    WHERE id = $1 AND token = $2 AND finished_at IS NULL
    RETURNING *
), ended AS (
    UPDATE casq.refreshes AS r SET state = 'done', finished_at = clock_timestamp()
    FROM over WHERE r.scan = over.id AND r.scope_id IS NULL AND r.state = 'finalizing'
    RETURNING over.kind, over.generation, over.compare
), complete AS (
    UPDATE casq.counter_kinds AS k SET complete = true, differs_since = NULL
    FROM ended AS e
    WHERE k.kind = e.kind AND k.generation = e.generation AND NOT e.compare
)
SELECT part_of, part, last_scope, scope_order FROM over
