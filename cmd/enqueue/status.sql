-- name: Failed
-- The reasons for which most resources have failed.
SELECT kind, reason, count, first_seen, last_seen
FROM casq.registry_failures
ORDER BY count DESC, kind, reason
LIMIT 20

-- name: Lag
-- The events beyond a position (tick $1 with nonce $2, and page $3 in a step
-- that is read in pages), counted up to $4; no row when the tick is gone. The
-- two parts are those of a page that is read: what was open in the tick's
-- snapshot, and what began after it.
SELECT (
    SELECT count(*)
    FROM (
        SELECT FROM pg_snapshot_xip(mine.snapshot) AS late (xid)
        JOIN casq.events AS e ON e.xid = late.xid AND e.id > $3
        UNION ALL
        SELECT FROM casq.events AS e
        WHERE e.id > greatest(mine.low_id, $3) AND e.xid >= pg_snapshot_xmax(mine.snapshot)
        LIMIT $4
    ) AS beyond
)
FROM casq.ticks AS mine
WHERE mine.id = $1 AND mine.nonce = $2

-- name: OpenRuns
-- Reconcile runs that have not ended, and how much they have examined.
SELECT r.run, coalesce((SELECT a.kind FROM casq.reconcile_runs AS a WHERE a.id = r.run), ''), r.reason, r.dry_run, r.state,
       coalesce(r.waiting, ''), r.requested_at, coalesce(sum(r.examined), 0)::bigint
FROM casq.reconcile_report AS r
WHERE r.finished_at IS NULL
GROUP BY r.run, r.reason, r.dry_run, r.state, r.waiting, r.requested_at
ORDER BY r.run

-- name: OpenRecounts
-- Recounts that have not ended: the scans, and how many scopes each has left.
SELECT s.id, s.kind, s.compare, s.all_scopes,
       CASE WHEN s.scanned_at IS NOT NULL THEN 'finalizing' WHEN s.started_at IS NOT NULL THEN 'running' ELSE 'created' END,
       (SELECT count(*) FROM casq.refreshes AS r WHERE r.scan = s.id AND r.finished_at IS NULL AND r.scope_id IS NOT NULL),
       s.requested_at
FROM casq.scans AS s
WHERE s.finished_at IS NULL
ORDER BY s.id

-- name: CounterLag
-- The shards that are behind most.
SELECT count(*), max(extract(epoch FROM buffer_age))::float8, max(ticks_behind), min(moved_at)
FROM casq.counter_status
HAVING count(*) > 0

-- name: Hindrance
-- What may keep jobs of some queues ($1) from being worked on: whether a process
-- is taken to be alive, the seconds since the newest sign of life of one, and
-- which of the queues are paused, and which were ever served.
SELECT p.alive, p.silent, q.paused, q.known
FROM (
    SELECT count(*) > 0 AS alive, coalesce(extract(epoch FROM clock_timestamp() - max(beat_at)), 0)::float8 AS silent
    FROM casq.processes WHERE dead_at IS NULL
) AS p,
(
    SELECT coalesce(array_agg(name ORDER BY name) FILTER (WHERE paused_at IS NOT NULL), '{}') AS paused,
           coalesce(array_agg(name), '{}') AS known
    FROM river.river_queue WHERE name = ANY ($1::text[])
) AS q

-- name: Waited
-- Takes the resources that need no more waiting out of the list, and says which of
-- them have failed. A resource is done when the version that was asked for is in
-- place, or a newer one; when its newest one has failed, or is absent at the source,
-- which is no failure; or when it is gone.
DELETE FROM pg_temp.asked AS a
WHERE NOT EXISTS (
    SELECT FROM casq.registry_status AS s
    WHERE s.kind = a.kind AND s.resource_id = a.resource_id
      AND (s.synced_version IS NULL OR s.synced_version < a.version)
      AND s.status NOT IN ('failed', 'absent')
)
RETURNING a.resource_id, (
    SELECT row_to_json(f)
    FROM (
        SELECT s.resource_id, s.version, coalesce(s.last_error, '') AS error, s.retry_at
        FROM casq.registry_status AS s
        WHERE s.kind = a.kind AND s.resource_id = a.resource_id AND s.status = 'failed'
          AND (s.synced_version IS NULL OR s.synced_version < a.version)
    ) AS f
)

-- name: Why
-- What a resource (kind $1, key $2) waits for, and its row, if it has one.
SELECT casq.why($1, $2), s.status, s.version, s.synced_version, s.attempts, s.last_error, s.retry_at, s.deleted_at
FROM (VALUES ($1::text, $2::text)) AS asked (kind, key)
LEFT JOIN casq.registry_status AS s ON s.kind = asked.kind AND s.resource_id = asked.key

-- name: Near
-- The keys of a kind ($1) just before and after a key ($2), in their order.
SELECT resource_id
FROM (
    (SELECT resource_id FROM casq.registry WHERE kind = $1 AND resource_id < $2 COLLATE "C"
     ORDER BY resource_id DESC LIMIT 2)
    UNION ALL
    (SELECT resource_id FROM casq.registry WHERE kind = $1 AND resource_id > $2 COLLATE "C"
     ORDER BY resource_id LIMIT 2)
) AS near
ORDER BY resource_id
