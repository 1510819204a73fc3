-- How far what came after the scan $1 can be summed up early: as far as its slowest
-- shard is. The newest tick may be one that they reach only when there is a newer
-- one. And how many counters it concerns.
SELECT greatest(s.tick, (SELECT min(t.id) FROM casq.counter_shards AS p
                         JOIN casq.ticks AS t ON t.id = p.tick AND t.mark = p.mark
                         WHERE p.shard = ANY (s.shards))),
       greatest((SELECT count(*) FROM casq.refreshes AS r WHERE r.scan = s.id AND r.finished_at IS NULL),
                (SELECT count(*) FROM casq.counters AS c WHERE s.whole AND c.kind = s.kind))
FROM casq.scans AS s
WHERE s.id = $1
