SELECT system_identifier, life, life_id, tick, mark, to_tick, to_mark, page
FROM casq.counter_shards
WHERE shard = $1
FOR UPDATE
