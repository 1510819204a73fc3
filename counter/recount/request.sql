-- name: Countable
SELECT EXISTS (SELECT FROM casq.tracked WHERE kind = $1 AND scope_column IS NOT NULL)

-- name: ScopesWithoutCounter
SELECT w.scope_id
FROM unnest($2::text[]) WITH ORDINALITY AS w (scope_id, n)
WHERE NOT EXISTS (SELECT FROM casq.counters AS c WHERE c.kind = $1 AND c.scope_id = w.scope_id)
ORDER BY w.n

-- name: ScopesWithoutRow
SELECT w.scope_id
FROM unnest($2::text[]) WITH ORDINALITY AS w (scope_id, n)
WHERE NOT casq.has_scope($1, w.scope_id)
ORDER BY w.n

-- name: Waiting
-- A recount of everything of a kind ($1), which only compares or not ($2), and that
-- no run has begun.
SELECT s.id, r.id
FROM casq.scans AS s
JOIN casq.refreshes AS r ON r.scan = s.id AND r.scope_id IS NULL
WHERE s.kind = $1 AND s.compare = $2 AND s.all_scopes AND s.part IS NULL
  AND s.started_at IS NULL AND s.finished_at IS NULL AND r.finished_at IS NULL
ORDER BY s.id
LIMIT 1

-- name: AskScan
INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick)
SELECT $1, $2, $3, t.timeline, t.id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1
RETURNING id

-- name: AskRefresh
WITH asked AS (
    INSERT INTO casq.refreshes (scan, kind, scope_id, shard)
    SELECT $1, $2, w.scope_id, w.shard
    FROM unnest($3::text[], $4::integer[]) WITH ORDINALITY AS w (scope_id, shard, n)
    ORDER BY w.n
    RETURNING id
)
SELECT id FROM asked ORDER BY id

-- name: Cancel
-- Cancels a recount ($1), or all of it when it is the one for all scopes, its parts
-- included. A scan without a recount left is over; whoever runs it has lost its
-- token. A part is not: what comes after it depends on it.
WITH found AS (
    SELECT id, scan, scope_id, finished_at FROM casq.refreshes WHERE id = $1
), locked AS MATERIALIZED (
    SELECT s.id, EXISTS (SELECT FROM casq.scans AS w WHERE w.id = s.part_of AND w.in_parts) AS is_part
    FROM casq.scans AS s
    JOIN found AS f ON s.id = f.scan OR s.part_of = f.scan AND f.scope_id IS NULL
    ORDER BY s.id
    FOR UPDATE OF s
), cancelled AS (
    UPDATE casq.refreshes AS r
    SET state = 'cancelled', finished_at = clock_timestamp(), reason = 'cancelled by an operator'
    FROM found AS f, locked AS l
    WHERE r.scan = l.id AND (r.id = f.id OR f.scope_id IS NULL)
      AND r.finished_at IS NULL AND f.finished_at IS NULL
    RETURNING r.id
), over AS (
    UPDATE casq.scans AS s
    SET finished_at = clock_timestamp(), token = NULL
    FROM locked AS l, found AS f
    WHERE s.id = l.id AND s.finished_at IS NULL
      AND EXISTS (SELECT FROM cancelled)
      AND (f.scope_id IS NULL OR NOT l.is_part)
      AND NOT EXISTS (SELECT FROM casq.refreshes AS r
                      WHERE r.scan = l.id AND r.finished_at IS NULL AND r.id NOT IN (SELECT id FROM cancelled))
)
SELECT EXISTS (SELECT FROM found), EXISTS (SELECT FROM cancelled)
