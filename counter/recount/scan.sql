-- name: Lock
-- The recount that the scan $1 is, or is a part of.
SELECT FROM casq.scans
WHERE id = (SELECT coalesce(part_of, id) FROM casq.scans WHERE id = $1)
FOR UPDATE

-- name: Busy
-- Is a scan ($1) over, and has it to wait? For the live process (other than $2)
-- that holds it; for enough scans ($3) that run; or for an earlier recount of one
-- of its scopes. A part waits for no other recount: the one that it is a part of
-- has done so. A recount in parts is over as a scan; lost, when the one part was lost
-- that is always under way.
SELECT s.finished_at IS NOT NULL OR s.scanned_at IS NOT NULL OR s.in_parts AND p.under_way,
       (s.token IS NOT NULL AND s.process <> $2
        AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = s.process AND p.dead_at IS NULL))
       OR (SELECT count(*) FROM casq.scans AS o
           JOIN casq.processes AS p ON p.id = o.process AND p.dead_at IS NULL
           WHERE o.finished_at IS NULL AND o.scanned_at IS NULL AND o.token IS NOT NULL AND o.id <> s.id) >= $3
       OR s.part_of IS NULL AND EXISTS (
           SELECT FROM casq.scans AS o
           WHERE o.finished_at IS NULL AND coalesce(o.part_of, o.id) < s.id AND o.kind = s.kind
             AND (o.all_scopes OR s.all_scopes OR EXISTS (
                 SELECT FROM casq.refreshes AS a JOIN casq.refreshes AS b ON b.scope_id = a.scope_id
                 WHERE a.scan = s.id AND b.scan = o.id AND b.finished_at IS NULL))
       ),
       s.in_parts AND NOT p.under_way
FROM casq.scans AS s
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM casq.scans AS o WHERE o.part_of = s.id AND o.finished_at IS NULL) AS under_way
) AS p
WHERE s.id = $1
FOR UPDATE OF s

-- name: Start
-- The run $2 of the process $3, in the job $4, takes the scan $1. From here on the log
-- is kept for it, beyond the newest tick: read in the statement that stores it, so that
-- whoever sees the run sees the tick. Last, whether
-- the kind's table is another one than that which the recount began with: then
-- the parts that are done are of no use.
WITH started AS (
    UPDATE casq.scans AS s
    SET token = $2, process = $3, job = $4, tries = s.tries + 1, started_at = coalesce(s.started_at, clock_timestamp()),
        floor_timeline = newest.timeline, floor_tick = newest.id
    FROM (SELECT t.timeline, t.id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1) AS newest
    WHERE s.id = $1
    RETURNING s.*
), running AS (
    UPDATE casq.refreshes
    SET state = 'running', started_at = coalesce(started_at, clock_timestamp())
    WHERE scan = $1 AND state = 'created'
)
SELECT s.kind, s.all_scopes, coalesce(s.part, ''), s.part_of, s.after_scope, coalesce(s.scope_order, ''), s.floor_timeline, s.floor_tick, s.tries,
       coalesce(k.generation, 0), coalesce(w.in_parts AND w.generation IS DISTINCT FROM k.generation, false)
FROM started AS s
LEFT JOIN casq.counter_kinds AS k ON k.kind = s.kind
LEFT JOIN casq.scans AS w ON w.id = s.part_of

-- name: Running
SELECT scope_id FROM casq.refreshes
WHERE scan = $1 AND scope_id IS NOT NULL AND finished_at IS NULL
ORDER BY scope_id

-- name: End
-- What the run $2 of the scan $1 has seen. A scan of all scopes, or of a part of
-- the table, concerns all shards ($10): those that it found nothing in have to
-- come as far.
UPDATE casq.scans AS s
SET host = $3, timeline = $4, tick = $5, nonce = $6, xids = $7::text[]::xid8[], scanned_rows = $8, generation = $9,
    last_scope = CASE WHEN s.part = 'table' THEN $11 ELSE s.last_scope END,
    scope_order = CASE WHEN s.part = 'table' THEN $12 END,
    scanned_at = clock_timestamp(),
    shards = CASE WHEN s.all_scopes OR s.part = 'table' THEN ARRAY(SELECT generate_series(0, $10::integer - 1))
             ELSE ARRAY(SELECT DISTINCT r.shard FROM casq.refreshes AS r
                        WHERE r.scan = s.id AND r.finished_at IS NULL ORDER BY r.shard) END
WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NULL

-- name: EndRefreshes
-- A scope without rows has the sums zero.
UPDATE casq.refreshes
SET state = 'finalizing', finalizing_at = clock_timestamp(), finalize_job = $2,
    reason = NULL,
    scanned_size = CASE WHEN scope_id IS NOT NULL THEN coalesce(scanned_size, 0) END,
    scanned_items = CASE WHEN scope_id IS NOT NULL THEN coalesce(scanned_items, 0) END
WHERE scan = $1 AND state = 'running'

-- name: GiveUp
-- The run $2 of the scan $1 gives it up for the reason $4, unless it has ended. $3: it
-- has only waited, which is no try.
WITH mine AS (
    UPDATE casq.scans SET token = NULL, process = NULL, tries = CASE WHEN $3 THEN greatest(tries - 1, 0) ELSE tries END
    WHERE id = $1 AND token = $2 AND scanned_at IS NULL
    RETURNING id
)
UPDATE casq.refreshes AS r SET reason = $4
FROM mine
WHERE r.scan = mine.id AND r.state = 'running' AND r.reason IS DISTINCT FROM $4

-- name: Fail
-- Fails a scan ($1) for the reason $2; with all of it, when it is a part.
WITH asked AS (
    SELECT coalesce(w.id, s.id) AS id FROM casq.scans AS s
    LEFT JOIN casq.scans AS w ON w.id = s.part_of AND w.in_parts
    WHERE s.id = $1
), locked AS MATERIALIZED (
    SELECT s.id FROM casq.scans AS s
    JOIN asked ON s.id = asked.id OR s.part_of = asked.id AND (SELECT in_parts FROM casq.scans WHERE id = asked.id)
    WHERE s.finished_at IS NULL
    ORDER BY s.id
    FOR UPDATE OF s
), over AS (
    UPDATE casq.scans AS s SET finished_at = clock_timestamp(), token = NULL
    FROM locked WHERE s.id = locked.id
    RETURNING s.id
)
UPDATE casq.refreshes AS r
SET state = 'failed', finished_at = clock_timestamp(), reason = $2
FROM over
WHERE r.scan = over.id AND r.finished_at IS NULL

-- name: Restart
-- The recount in parts $1 begins anew: its table was tracked anew or changed, or the
-- part that was under way is lost. What its parts have done stands by itself.
WITH parts AS (
    UPDATE casq.scans SET part_of = NULL, token = NULL, finished_at = coalesce(finished_at, clock_timestamp())
    WHERE part_of = $1
    RETURNING id
), cancelled AS (
    UPDATE casq.refreshes AS r
    SET state = 'cancelled', finished_at = clock_timestamp(), reason = 'the table is counted from the start again'
    FROM parts WHERE r.scan = parts.id AND r.finished_at IS NULL
)
UPDATE casq.scans SET in_parts = false, token = NULL, process = NULL
WHERE id = $1 AND in_parts AND finished_at IS NULL
RETURNING id
