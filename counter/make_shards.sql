-- Makes shards 0 to $1 - 1 at a position ($2 to $9).
INSERT INTO casq.counter_shards (shard, system_identifier, life, life_id, tick, mark, to_tick, to_mark, page)
SELECT n, $2, $3, $4, $5, $6, $7, $8, $9
FROM generate_series(0, $1::integer - 1) AS n
