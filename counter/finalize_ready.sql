-- Under the shard's lock: does its tick ($3) show all that the run ($2) of the scan
-- ($1) has seen, and all that was summed early ($4)? FOR SHARE: other shards are
-- swapped at the same time; whoever ends the scan, or cancels it, waits for them.
SELECT EXISTS (SELECT FROM casq.ticks AS t WHERE t.id = s.tick AND t.mark = s.mark)
       AND s.life = (SELECT max(life) FROM casq.lives)
       AND s.generation = (SELECT generation FROM casq.counter_kinds AS k WHERE k.kind = s.kind),
       $3 >= s.tick AND $3 >= $4
       AND NOT EXISTS (
           SELECT FROM unnest(s.xids) AS x (xid), casq.ticks AS t
           WHERE t.id = $3 AND NOT pg_visible_in_snapshot(x.xid, t.snapshot)
       )
FROM casq.scans AS s
WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NOT NULL AND s.finished_at IS NULL
FOR SHARE
