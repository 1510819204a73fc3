-- The run $2 of the process $3, in the job $4, takes the scan $1. From here on the log
-- is kept for it, beyond the newest tick: read in the statement that stores it, so that
-- whoever sees the run sees the tick. Last, whether
-- the kind's table is another one than that which the recount began with: then
-- the parts that are done are of no use.
WITH started AS (
    UPDATE casq.scans AS s
    SET token = $2, process = $3, job = $4, tries = s.tries + 1, started_at = coalesce(s.started_at, clock_timestamp()),
        floor_life = newest.life, floor_tick = newest.id
    FROM (SELECT t.life, t.id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1) AS newest
    WHERE s.id = $1
    RETURNING s.*
), running AS (
    UPDATE casq.refreshes
    SET state = 'running', started_at = coalesce(started_at, clock_timestamp())
    WHERE scan = $1 AND state = 'created'
)
SELECT s.kind, s.whole, coalesce(s.part, ''), s.part_of, s.after_scope, coalesce(s.scope_order, ''), s.floor_life, s.floor_tick, s.tries,
       coalesce(k.generation, 0), coalesce(w.in_parts AND w.generation IS DISTINCT FROM k.generation, false)
FROM started AS s
LEFT JOIN casq.counter_kinds AS k ON k.kind = s.kind
LEFT JOIN casq.scans AS w ON w.id = s.part_of
