-- name: Start
-- The oldest tick that is still there; tick 0 shows nothing, so a reader that
-- starts at it reads the whole log. The system is that of the newest tick, as
-- in Probe: the oldest may have been taken before pg_upgrade.
SELECT newest_timeline.system_identifier, timeline.timeline, timeline.id, tick.id, tick.nonce
FROM (SELECT * FROM casq.ticks ORDER BY id LIMIT 1) AS tick
JOIN casq.timelines AS timeline ON timeline.timeline = tick.timeline
CROSS JOIN (SELECT timeline FROM casq.ticks ORDER BY id DESC LIMIT 1) AS newest
JOIN casq.timelines AS newest_timeline ON newest_timeline.timeline = newest.timeline

-- name: Page
-- A page of the step from the snapshot $1 to the snapshot $2: of the events with an
-- id above $3 the first $4 by id, in no order; and no more of them than begin within
-- $11 bytes of keys and payloads, but always one. With $12 only those of one kind.
-- The last column says of the last event, and of no other, whether the page was ended by
-- those bytes, whatever may follow.
--
-- With them comes a row with id 0, if both ticks of the step (id and nonce:
-- $7 and $8, $9 and $10) are there in the snapshot of this very statement.
-- Where several hosts answer under one address, this one may be later than the
-- one that was asked for the ticks, or else the ticks may just have been
-- pruned: then events are missing, and the page must not be used.
--
-- The first part, late, is the transactions that were open in $1 and are not in
-- $2, each a range of the primary key. The second is those that are not below
-- the xmax of $1: their ids lie above low_id ($5) of the first tick and not
-- above high_id ($6) of the second, and nearly every event in that range is of
-- this step, so that walking the index by id visits little else, however far
-- the log has gone on since. Without the upper bound a page in a backlog took
-- 458 ms instead of 0.09 ms. A full page of late events is an upper bound too:
-- a huge transaction's own ids may fill the range, and walking over all of them
-- for each page took as long as reading it all.
--
-- Each part leaves the planner no other index than the one that has the order
-- of the result, for a plan that sorts reads all of the step for each page of
-- it: 300,000 events of one transaction that ANALYZE had not seen took 8,100
-- buffers and 475 ms a page, instead of 130 buffers and 9 ms. Hence the row
-- comparisons, IS TRUE, which no index knows, and the settings in reader.go.
WITH late AS (
    SELECT e.*
    FROM pg_snapshot_xip($1::text::pg_snapshot) AS late (xid)
    CROSS JOIN LATERAL (
        SELECT * FROM casq.events AS e
        WHERE (e.xid, e.id) > (late.xid, $3::bigint)
          AND (e.xid, e.id) <= (late.xid, $6::bigint)
          AND ($12::text IS NULL OR e.kind = $12)
        ORDER BY e.xid, e.id LIMIT $4
    ) AS e
    WHERE pg_visible_in_snapshot(late.xid, $2::text::pg_snapshot)
    ORDER BY e.id LIMIT $4
), step AS MATERIALIZED (
    SELECT id, kind, resource_id, op, bulk, scope_id, moved, size_delta, item_delta, payload, occurred_at
    FROM (
        SELECT 0 AS id, '' AS kind, '' AS resource_id, '' AS op, false AS bulk, NULL AS scope_id, '' AS moved,
               0 AS size_delta, 0 AS item_delta, NULL AS payload, now() AS occurred_at
        WHERE EXISTS (SELECT FROM casq.ticks WHERE id = $7 AND nonce = $8)
          AND EXISTS (SELECT FROM casq.ticks WHERE id = $9 AND nonce = $10)
        UNION ALL
        SELECT id, kind, resource_id, op, bulk, scope_id, moved, size_delta, item_delta, payload, occurred_at FROM late
        UNION ALL
        (
            SELECT e.id, e.kind, e.resource_id, e.op, e.bulk, e.scope_id, e.moved, e.size_delta, e.item_delta, e.payload, e.occurred_at
            FROM casq.events AS e
            WHERE e.id > greatest($3::bigint, $5::bigint)
              AND e.id <= least($6::bigint, (SELECT id FROM late ORDER BY id OFFSET $4 - 1 LIMIT 1))
              AND (e.xid >= pg_snapshot_xmax($1::text::pg_snapshot)) IS TRUE
              AND pg_visible_in_snapshot(e.xid, $2::text::pg_snapshot)
              AND ($12::text IS NULL OR e.kind = $12)
            ORDER BY e.id LIMIT $4
        )
    ) AS step
    ORDER BY id
    LIMIT $4 + 1
), small AS (
    -- Nearly every page: no event of it is beyond the bytes, so that no sum is taken for each, and
    -- nothing is sorted again, which the reader does if need be: 4.2 us of CPU an event, for 5.9.
    SELECT NOT bool_or(pg_column_compression(payload) IS NOT NULL)
       AND sum(octet_length(resource_id) + octet_length(moved) + coalesce(pg_column_size(payload), 0)) <= $11 AS all_of_it
    FROM step
), stored AS (
    -- By what is stored, which is known without reading what lies apart from its row.
    -- What is compressed counts 32 times, so that little of it is read in vain below.
    SELECT *, sum(weight) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS stored_end
    FROM (
        SELECT *, size * CASE WHEN packed THEN 32 ELSE 1 END AS weight
        FROM (
            SELECT *, octet_length(resource_id) + octet_length(moved) + coalesce(pg_column_size(payload), 0) AS size,
                   pg_column_compression(payload) IS NOT NULL AS packed
            FROM step
            WHERE NOT (SELECT all_of_it FROM small)
        ) AS step
    ) AS step
)
SELECT id, kind, resource_id, op, bulk, scope_id, moved, size_delta, item_delta, payload, occurred_at, false
FROM step
WHERE (SELECT all_of_it FROM small)
UNION ALL
SELECT id, kind, resource_id, op, bulk, scope_id, moved, size_delta, item_delta, payload, occurred_at, stored_end > $11 OR bytes_end > $11
FROM (
    SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS bytes_end
    FROM (
        SELECT *, CASE WHEN packed THEN octet_length(resource_id) + octet_length(moved) + octet_length(payload::text) ELSE size END AS bytes
        FROM stored
        WHERE stored_end - weight <= $11
    ) AS stored
) AS page
WHERE bytes_end - bytes <= $11

-- name: Append
SELECT casq.append_event(kind => $1, resource_id => $2, op => $3, payload => $4,
                         scope_id => $5, size_delta => $6, item_delta => $7, moved => $8)

-- name: Touch
SELECT casq.touch($1, $2)

-- name: Probe
-- Reads the source, in one snapshot: does it still show the position
-- (timeline $1, tick $2, and to_tick $3 unless 0), and where does the step lead?
--
-- LIMIT 1 keeps the planner from joining the target by a walk over all ticks,
-- which it does where ANALYZE last saw a few.
SELECT newest_timeline.timeline, newest_timeline.system_identifier,
       (SELECT system_identifier FROM pg_control_system()) AS server, newest.id,
       (SELECT min(id) FROM casq.ticks) AS oldest_tick,
       (SELECT id FROM casq.timelines WHERE timeline = $1) AS my_timeline_id,
       (SELECT min(began_tick) FROM casq.timelines WHERE timeline > $1) AS next_began_tick,
       mine.nonce, mine.snapshot::text, mine.low_id,
       target.timeline, target_timeline.id, target.id, target.nonce, target.snapshot::text, target.high_id
FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS newest
JOIN casq.timelines AS newest_timeline ON newest_timeline.timeline = newest.timeline
LEFT JOIN casq.ticks AS mine ON mine.id = $2
LEFT JOIN LATERAL (
    SELECT * FROM casq.ticks WHERE id = CASE WHEN $3::bigint = 0 THEN newest.id ELSE $3 END LIMIT 1
) AS target ON true
LEFT JOIN casq.timelines AS target_timeline ON target_timeline.timeline = target.timeline

-- name: Rewind
-- For a source that does not show the position any more: its newest tick, and
-- the newest one that it shares with what was read up to the position ($1 timeline,
-- $2 its id, $3 tick).
--
-- A promoted server has a prefix of what the old one wrote: the ticks of a timeline
-- that both have are the same below the one with which the next timeline began. Not
-- beyond the position's own tick: inside a step that was read in part, not all
-- events that a later tick shows were read.
SELECT newest_timeline.system_identifier, newest_timeline.timeline, newest_timeline.id, newest.id, newest.nonce,
       shared_timeline.timeline, shared_timeline.id, shared.id, shared.nonce
FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS newest
JOIN casq.timelines AS newest_timeline ON newest_timeline.timeline = newest.timeline
LEFT JOIN casq.timelines AS mine ON mine.timeline = $1 AND mine.id = $2
LEFT JOIN LATERAL (
    SELECT * FROM casq.ticks AS t
    WHERE t.id <= $3 AND t.id < (SELECT min(n.began_tick) FROM casq.timelines AS n WHERE n.timeline > mine.timeline)
    ORDER BY t.id DESC LIMIT 1
) AS shared ON true
LEFT JOIN casq.timelines AS shared_timeline ON shared_timeline.timeline = shared.timeline
