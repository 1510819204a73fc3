-- name: Shards
SELECT shard, system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page
FROM casq.counter_shards

-- name: LockShard
SELECT system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page
FROM casq.counter_shards
WHERE shard = $1
FOR UPDATE

-- name: LockShards
SELECT shard, system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page
FROM casq.counter_shards
WHERE shard = ANY ($1)
ORDER BY shard
FOR UPDATE

-- name: MoveShard
-- Moves a shard ($1), which is locked, to a position ($2 to $9) whose ticks are
-- those of the log.
UPDATE casq.counter_shards
SET epoch = epoch + 1, system_identifier = $2, timeline = $3, timeline_id = $4,
    tick = $5, nonce = $6, to_tick = $7, to_nonce = $8, page = $9,
    moved_at = clock_timestamp()
WHERE shard = $1
  AND EXISTS (SELECT FROM casq.ticks WHERE id = $5 AND nonce = $6)
  AND ($7 = 0 OR EXISTS (SELECT FROM casq.ticks WHERE id = $7 AND nonce = $8))

-- name: MakeShards
-- Makes shards 0 to $1 - 1 at a position ($2 to $9).
INSERT INTO casq.counter_shards (shard, system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page)
SELECT n, $2, $3, $4, $5, $6, $7, $8, $9
FROM generate_series(0, $1::integer - 1) AS n

-- name: StartOver
-- Puts shards 0 to $1 - 1 at the newest tick.
INSERT INTO casq.counter_shards AS s (shard, system_identifier, timeline, timeline_id, tick, nonce)
SELECT n, l.system_identifier, l.timeline, l.id, t.id, t.nonce
FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS t
JOIN casq.timelines AS l ON l.timeline = t.timeline
CROSS JOIN generate_series(0, $1::integer - 1) AS n
ORDER BY n
ON CONFLICT (shard) DO UPDATE
SET epoch = s.epoch + 1, system_identifier = excluded.system_identifier, timeline = excluded.timeline,
    timeline_id = excluded.timeline_id, tick = excluded.tick, nonce = excluded.nonce,
    to_tick = 0, to_nonce = DEFAULT, page = 0, moved_at = clock_timestamp()

-- name: EndClaims
-- No kind's counters are exact from here on: each is recounted.
WITH ended AS (
    UPDATE casq.counter_kinds SET complete = false, generation = generation + 1
    RETURNING kind
)
SELECT casq.ask_recount(e.kind) FROM ended AS e ORDER BY e.kind

-- name: Namespace
-- Names this database among all that may share a Redis, and counts its shards.
SELECT (SELECT system_identifier FROM pg_control_system()) || '.'
       || (SELECT oid FROM pg_database WHERE datname = current_database()),
       (SELECT count(*) FROM casq.counter_shards)

-- name: Add
-- Adds to counters of a shard ($1) that is locked: kinds $2, scopes $3, limbs $4
-- and bytes below a limb $5, items $6; $7 is how many bytes a limb has. Sums of a kind
-- that has ended meanwhile are left out: its counters are gone.
INSERT INTO casq.counters AS c (kind, scope_id, shard, size, items)
SELECT w.kind, w.scope_id, $1, w.high::numeric * $7 + w.low, w.items
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) AS w (kind, scope_id, high, low, items)
WHERE EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = w.kind)
ON CONFLICT (kind, scope_id) DO UPDATE
SET size = c.size + excluded.size, items = c.items + excluded.items, updated_at = clock_timestamp()
