-- The run $2 of the scan $1, if it waits for the swap. valid: the log is still
-- the one that it saw, and the kind has been tracked all the while. Last, how far
-- what came after the scan can be summed up early: as far as its slowest shard is.
-- The newest tick may be one that they reach only when there is a newer one.
SELECT s.kind, s.shards,
       EXISTS (SELECT FROM casq.ticks AS t WHERE t.id = s.tick AND t.mark = s.mark)
       AND s.life = (SELECT max(life) FROM casq.lives)
       AND s.generation = (SELECT generation FROM casq.counter_kinds AS k WHERE k.kind = s.kind),
       greatest(s.tick, (SELECT min(t.id) FROM casq.counter_shards AS p
                         JOIN casq.ticks AS t ON t.id = p.tick AND t.mark = p.mark
                         WHERE p.shard = ANY (s.shards)))
FROM casq.scans AS s
WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NOT NULL AND s.finished_at IS NULL
