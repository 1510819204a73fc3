-- Puts shards 0 to $1 - 1 at the newest tick.
INSERT INTO casq.counter_shards AS s (shard, system_identifier, life, life_id, tick, mark)
SELECT n, l.system_identifier, l.life, l.id, t.id, t.mark
FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS t
JOIN casq.lives AS l ON l.life = t.life
CROSS JOIN generate_series(0, $1::integer - 1) AS n
ORDER BY n
ON CONFLICT (shard) DO UPDATE
SET epoch = s.epoch + 1, system_identifier = excluded.system_identifier, life = excluded.life,
    life_id = excluded.life_id, tick = excluded.tick, mark = excluded.mark,
    to_tick = 0, to_mark = DEFAULT, page = 0, moved_at = clock_timestamp()
