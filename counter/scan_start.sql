WITH started AS (
    UPDATE casq.scans AS s
    SET token = $2, process = $3, job = $4, tries = s.tries + 1, started_at = coalesce(s.started_at, clock_timestamp())
    WHERE s.id = $1
    RETURNING s.kind, s.whole, s.floor_life, s.floor_tick, s.tries
), running AS (
    UPDATE casq.refreshes
    SET state = 'running', started_at = coalesce(started_at, clock_timestamp())
    WHERE scan = $1 AND state = 'created'
)
SELECT s.kind, s.whole, s.floor_life, s.floor_tick, s.tries,
       coalesce((SELECT generation FROM casq.counter_kinds AS k WHERE k.kind = s.kind), 0)
FROM started AS s
