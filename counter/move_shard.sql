-- Moves a shard ($1), which is locked, to a position ($2 to $9) whose ticks are
-- those of the log.
UPDATE casq.counter_shards
SET epoch = epoch + 1, system_identifier = $2, life = $3, life_id = $4,
    tick = $5, mark = $6, to_tick = $7, to_mark = $8, page = $9,
    moved_at = clock_timestamp()
WHERE shard = $1
  AND EXISTS (SELECT FROM casq.ticks WHERE id = $5 AND mark = $6)
  AND ($7 = 0 OR EXISTS (SELECT FROM casq.ticks WHERE id = $7 AND mark = $8))
