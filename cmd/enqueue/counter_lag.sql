-- The shards that are behind most.
SELECT count(*), max(extract(epoch FROM buffer_age))::float8, max(ticks_behind), min(moved_at)
FROM casq.counter_status
HAVING count(*) > 0
