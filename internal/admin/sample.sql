-- name: Health
-- What is not as it should be, the most severe first; or one row that is ok.
SELECT severity, what, since, command FROM casq.health() LIMIT 20

-- name: Lags
-- How late copies are, by kind, and in which stage.
SELECT kind, lag_seconds, to_standby_seconds, to_registry_seconds, queue_seconds, copy_seconds, resources, coalesce(oldest_resource, '')
FROM casq.replication_lags
ORDER BY kind

-- name: Kinds
-- What there is of each kind, from the kept counts.
SELECT k.kind, k.transfer,
       coalesce(sum(s.count) FILTER (WHERE s.status = 'synced'), 0)::bigint,
       coalesce(sum(s.count) FILTER (WHERE s.status IN ('pending', 'started', 'removing')), 0)::bigint,
       coalesce(sum(s.count) FILTER (WHERE s.status = 'failed'), 0)::bigint,
       coalesce(sum(s.count) FILTER (WHERE s.status = 'absent'), 0)::bigint,
       coalesce(sum(s.bytes), 0)::bigint, min(s.oldest) FILTER (WHERE s.status <> 'failed'),
       EXISTS (SELECT FROM casq.tracked AS t WHERE t.kind = k.kind AND t.scope_column IS NOT NULL)
FROM casq.kinds AS k
LEFT JOIN casq.registry_summary AS s USING (kind)
GROUP BY k.kind, k.transfer
ORDER BY k.kind

-- name: Failures
-- The reasons for which most resources have failed.
SELECT kind, reason, count, first_seen, last_seen
FROM casq.registry_failures
ORDER BY count DESC, kind, reason
LIMIT 20

-- name: Tick
-- The newest tick of home's own log.
SELECT id, timeline, taken_at FROM casq.ticks ORDER BY id DESC LIMIT 1

-- name: Workers
SELECT w.host, w.pid, w.version, w.started_at, w.beat_at, w.beat_at < clock_timestamp() - interval '1 minute',
       ARRAY(SELECT r.key || CASE WHEN (r.value ->> 'ready')::boolean THEN '' ELSE ' (not ready)' END
             FROM jsonb_each(w.roles) AS r ORDER BY r.key), coalesce(w.waiting, '')
FROM casq.workers AS w
ORDER BY w.host, w.pid
LIMIT 200

-- name: Followers
-- Sites that follow this log, and when they have last said how far they are.
SELECT f.name, f.tick, f.reported_at FROM casq.followers AS f ORDER BY f.name LIMIT 100

-- name: Queues
-- River's queues, with their jobs counted up to $1.
SELECT q.name, q.paused_at, waiting.n, running.n, retrying.n
FROM river.river_queue AS q
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state = 'available' AND j.queue = q.name LIMIT $1) AS j) AS waiting
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state = 'running' AND j.queue = q.name LIMIT $1) AS j) AS running
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state IN ('retryable', 'scheduled') AND j.queue = q.name LIMIT $1) AS j) AS retrying
ORDER BY q.name
LIMIT 200

-- name: Counters
-- How far the flushed counters are behind the log. No row: nothing is counted.
SELECT count(*), max(extract(epoch FROM buffer_age))::float8, min(moved_at)
FROM casq.counter_status
HAVING count(*) > 0

-- name: Recounts
SELECT s.id, s.kind, s.compare,
       CASE WHEN s.scanned_at IS NOT NULL THEN 'swapping in' WHEN s.started_at IS NOT NULL THEN 'counting' ELSE 'waiting' END,
       coalesce(s.scanned_rows, 0), s.requested_at
FROM casq.scans AS s
WHERE s.finished_at IS NULL
ORDER BY s.id
LIMIT 50

-- name: Reconciles
SELECT r.id, coalesce(r.kind, 'all kinds'), r.reason, r.phase, coalesce(r.waiting, ''), r.requested_at
FROM casq.reconcile_runs AS r
WHERE r.finished_at IS NULL
ORDER BY r.id
LIMIT 50

-- name: Builds
-- The build queue, counted up to $1, and the runners.
SELECT (SELECT count(*) FROM (SELECT FROM casq.builds AS b WHERE b.in_queue LIMIT $1) AS b),
       (SELECT count(*) FROM (SELECT FROM casq.builds AS b WHERE b.held LIMIT $1) AS b),
       (SELECT count(*) FROM (SELECT FROM casq.builds AS b WHERE b.status IN ('running', 'canceling') AND b.runner_id IS NOT NULL LIMIT $1) AS b),
       (SELECT count(*) FROM casq.runners), (SELECT count(*) FROM casq.runners WHERE paused),
       (SELECT min(b.created_at) FROM (SELECT b.created_at FROM casq.builds AS b WHERE b.in_queue ORDER BY b.queued LIMIT 1) AS b)

-- name: DeadLetters
-- Events that could not be applied, of the first $1 that are open.
SELECT f.cursor, f.kind, f.reason, count(*), min(f.failed_at), max(f.failed_at)
FROM (
    SELECT * FROM casq.event_failures AS e WHERE e.replayed_at IS NULL ORDER BY e.kind, e.resource_id LIMIT $1
) AS f
GROUP BY f.cursor, f.kind, f.reason
ORDER BY count(*) DESC
LIMIT 20

-- name: Requests
-- What operators asked for last, and how their jobs are.
SELECT a.id, a.asked_at, a.actor, a.role::text, a.via, a.action, a.touches, a.changed, coalesce(j.state::text, '')
FROM (SELECT * FROM casq.audit AS n ORDER BY n.asked_at DESC LIMIT 12) AS a
LEFT JOIN river.river_job AS j ON j.id = a.job
ORDER BY a.asked_at DESC

-- name: Resource
-- What is known of one resource ($1, $2), and in words.
SELECT s.status, s.version, s.synced_version, s.attempts, coalesce(s.last_error, ''), s.retry_at, s.deleted_at, s.queued_at,
       r.verified_at, r.size, coalesce(r.checksum, ''), coalesce(r.scope_id, ''), r.event_id, r.timeline, r.tick
FROM casq.registry_status AS s JOIN casq.registry AS r USING (kind, resource_id)
WHERE s.kind = $1 AND s.resource_id = $2

-- name: History
-- What became of a resource ($1, $2) lately: the event that asked for it last, where the
-- log is home's; jobs that have not ended; events that could not be applied.
(SELECT e.occurred_at, 'event ' || e.id || ': ' || e.op
 FROM casq.registry AS r JOIN casq.events AS e ON e.id = r.event_id AND e.kind = r.kind AND e.resource_id = r.resource_id
 WHERE r.kind = $1 AND r.resource_id = $2)
UNION ALL
(SELECT j.created_at, 'job ' || j.id || ' of version ' || coalesce(j.args ->> 'version', '?') || ': ' || j.kind || ', ' || j.state || ', attempt ' || j.attempt
 FROM river.river_job AS j
 WHERE (j.args ->> 'resource_id') COLLATE "C" = $2 AND j.args ->> 'kind' = $1 AND j.finalized_at IS NULL
 LIMIT 20)
UNION ALL
(SELECT f.failed_at, 'event ' || f.event_id || ' dead-lettered: ' || f.reason
 FROM casq.event_failures AS f WHERE f.kind = $1 AND f.resource_id = $2 AND f.replayed_at IS NULL
 LIMIT 20)
ORDER BY 1 DESC

-- name: Why
SELECT casq.why($1, $2)

-- name: Near
-- The keys of a kind ($1) just before and after a key ($2), in their order.
SELECT resource_id
FROM (
    (SELECT resource_id FROM casq.registry WHERE kind = $1 AND resource_id < $2 COLLATE "C"
     ORDER BY resource_id DESC LIMIT 3)
    UNION ALL
    (SELECT resource_id FROM casq.registry WHERE kind = $1 AND resource_id > $2 COLLATE "C"
     ORDER BY resource_id LIMIT 3)
) AS near
ORDER BY resource_id

-- name: Touched
-- How many resources of a kind ($1) have one of the statuses $2; those that failed for the
-- reason $3, unless that is NULL. From the kept counts.
SELECT CASE WHEN $3::text IS NULL
    THEN (SELECT coalesce(sum(s.count), 0)::bigint FROM casq.registry_summary AS s WHERE s.kind = $1 AND s.status = ANY ($2::text[]))
    ELSE (SELECT coalesce(sum(f.count), 0)::bigint FROM casq.registry_failures AS f WHERE f.kind = $1 AND f.reason = $3) END

-- name: QueueServed
SELECT EXISTS (SELECT FROM river.river_queue WHERE name = $1)

-- name: Recorded
SELECT EXISTS (SELECT FROM casq.audit WHERE id = $1)

-- name: RequestJob
-- The job of a request ($1), and what it is.
SELECT a.job, a.action FROM casq.audit AS a WHERE a.id = $1 AND a.job IS NOT NULL
