-- name: SourceEvents
-- The source's events, each with the first timeline of which a tick shows it.
WITH last AS MATERIALIZED (
    SELECT DISTINCT ON (timeline) timeline, snapshot FROM casq.ticks ORDER BY timeline, id DESC
)
SELECT e.id, e.kind, e.resource_id,
       coalesce((SELECT min(l.timeline) FROM last AS l WHERE pg_visible_in_snapshot(e.xid, l.snapshot)), 0)
FROM casq.events AS e

-- name: RecordedEvents
-- How often each event was recorded, by the tick that delivered it.
SELECT timeline_id, tick, nonce, event_id, count(*), min(kind), min(resource_id)
FROM recorded
GROUP BY timeline_id, tick, nonce, event_id
ORDER BY event_id, tick

-- name: Rows
SELECT s.kind, s.resource_id, s.status, coalesce(r.checksum, ''), r.claim IS NOT NULL
FROM casq.registry_status AS s
JOIN casq.registry AS r USING (kind, resource_id)
ORDER BY s.kind, s.resource_id

-- name: Jobs
-- Jobs that wait or run with nobody to work on them any more, or that wait for
-- another try of the version that is wanted. A job that was written off with its
-- process is believed to be running until River looks, an hour later; its work
-- has another job.
SELECT coalesce(j.args ->> 'kind', ''), coalesce(j.args ->> 'resource_id', ''),
       format('%s %s is %s since %s: %s', j.kind, j.id, j.state, coalesce(j.attempted_at, j.created_at), j.args)
FROM river.river_job AS j
LEFT JOIN casq.registry AS r
       ON r.kind = j.args ->> 'kind' AND r.resource_id = j.args ->> 'resource_id' AND r.version = (j.args ->> 'version')::bigint
WHERE j.state IN ('available', 'pending')
   OR j.state = 'running' AND NOT j.metadata ? 'cancel_attempted_at'
   OR j.state IN ('retryable', 'scheduled') AND r.version IS NOT NULL AND r.synced_version IS DISTINCT FROM r.version
ORDER BY j.id

-- name: JobRows
-- All jobs, with what decides when each is fetched: it is the database's clock.
SELECT id, kind, queue, state, attempt, priority, scheduled_at, attempted_at, finalized_at, clock_timestamp() AS now,
       attempted_by, left(args::text, 200) AS args, metadata, errors[array_upper(errors, 1)] AS error
FROM river.river_job
ORDER BY id

-- name: Failures
SELECT kind, resource_id, format('event %s of timeline %s for cursor %s: %s', event_id, timeline, cursor, reason)
FROM casq.event_failures
ORDER BY cursor, timeline, event_id

-- name: Kept
-- Where casq.registry_summary is not what the rows are.
SELECT kind, '', format('of those that are %s %s are kept, with %s bytes; there are %s, with %s', status, got.count, got.bytes, want.count, want.bytes)
FROM (SELECT s.kind, s.status, count(*) AS count, sum(coalesce(r.size, 0)) AS bytes
      FROM casq.registry_status AS s JOIN casq.registry AS r USING (kind, resource_id)
      GROUP BY s.kind, s.status) AS want
FULL JOIN casq.registry_summary AS got USING (kind, status)
WHERE (want.count, want.bytes) IS DISTINCT FROM (got.count, got.bytes)

-- name: OpenCounters
-- How many counters are not what the table says, and how many recounts are not
-- over.
SELECT (SELECT count(*) FROM casq.scans WHERE finished_at IS NULL)
     + (SELECT count(*)
        FROM (
            SELECT 'artifact' AS kind, project_id::text AS scope_id, sum(size) AS size, count(*) AS items FROM artifacts GROUP BY 2
            UNION ALL
            SELECT 'build_artifact', project_id::text, sum(size), count(*) FROM casq.artifacts GROUP BY 2
        ) AS t
        FULL JOIN (SELECT * FROM casq.statistics WHERE (size, items) <> (0, 0)) AS s USING (kind, scope_id)
        WHERE (t.size, t.items) IS DISTINCT FROM (s.size, s.items))

-- name: Counters
-- What is wrong with the first site's counters.
SELECT format('counter of project %s for kind %s is %s in %s, the table has %s in %s', scope_id, kind,
              coalesce(s.size, 0), coalesce(s.items, 0), coalesce(t.size, 0), coalesce(t.items, 0))
FROM (
    SELECT 'artifact' AS kind, project_id::text AS scope_id, sum(size) AS size, count(*) AS items FROM artifacts GROUP BY 2
    UNION ALL
    SELECT 'build_artifact', project_id::text, sum(size), count(*) FROM casq.artifacts GROUP BY 2
) AS t
FULL JOIN (SELECT * FROM casq.statistics WHERE (size, items) <> (0, 0)) AS s USING (kind, scope_id)
WHERE (t.size, t.items) IS DISTINCT FROM (s.size, s.items)
UNION ALL
SELECT format('recount %s of project %s found a difference of %s in %s', id, scope_id, drift_size, drift_items)
FROM casq.refreshes AS r
WHERE (drift_size <> 0 OR drift_items <> 0)
  -- What is counted anew is not exact, and says so, until its next recount.
  AND NOT EXISTS (
      SELECT FROM counted_anew AS n
      WHERE n.kind = r.kind AND n.at < r.finished_at AND NOT EXISTS (
          SELECT FROM casq.refreshes AS q
          WHERE q.kind = r.kind AND q.scope_id = r.scope_id AND q.state = 'done' AND q.started_at > n.at AND q.finished_at < r.started_at))
UNION ALL
SELECT format('recount %s of project %s is %s: %s', id, coalesce(scope_id, 'all'), state, reason)
FROM casq.refreshes
WHERE state NOT IN ('done', 'cancelled')

-- name: Needed
-- The first tick that shows all that tick $1 shows.
SELECT min(t.id)
FROM casq.ticks AS t
JOIN casq.ticks AS last ON last.id = $1
WHERE t.id <= last.id AND NOT casq.events_between(t.snapshot, last.snapshot)

-- name: State
-- What a site that follows has left to do. $1: its cursors.
SELECT (SELECT CASE WHEN count(*) = cardinality($1::text[]) AND bool_and(to_tick = 0) THEN min(tick) ELSE -1 END
        FROM casq.cursors WHERE name = ANY ($1)),
       (SELECT coalesce(string_agg(name || ' at tick ' || tick || CASE WHEN to_tick > 0 THEN ' to ' || to_tick || '/' || page ELSE '' END
                                   || ' epoch ' || epoch, ', ' ORDER BY name), 'no cursor')
        FROM casq.cursors),
       (SELECT count(*) FROM casq.registry_status WHERE status NOT IN ('synced', 'removed')),
       (SELECT count(*) FROM casq.registry WHERE claim IS NOT NULL),
       (SELECT count(*) FROM river.river_job
        WHERE state IN ('available', 'pending') OR state = 'running' AND NOT metadata ? 'cancel_attempted_at'),
       (SELECT count(*) FROM casq.reconcile_runs
        WHERE finished_at IS NULL AND (reason <> 'scheduled' OR coalesce(not_before <= clock_timestamp(), true))),
       (SELECT coalesce(extract(epoch FROM min(retry_at) FILTER (WHERE retry_at > clock_timestamp()) - clock_timestamp()), 0)::float8
        FROM casq.registry_status WHERE status NOT IN ('synced', 'removed'))
