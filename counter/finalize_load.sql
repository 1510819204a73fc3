-- The run $2 of the scan $1, if it waits for the swap. valid: the log is still
-- the one that it saw, and the kind has been tracked all the while.
SELECT s.kind, s.shards,
       EXISTS (SELECT FROM casq.ticks AS t WHERE t.id = s.tick AND t.mark = s.mark)
       AND s.life = (SELECT max(life) FROM casq.lives)
       AND s.generation = (SELECT generation FROM casq.counter_kinds AS k WHERE k.kind = s.kind)
FROM casq.scans AS s
WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NOT NULL AND s.finished_at IS NULL
