-- How things stand: what the workers know, how late copies are, and what is wrong.
--
-- Lock: none on existing objects. Deploy: at any time.

-- One row per worker, also of one that works on no jobs: what it last said of itself,
-- each ten seconds. Times are home's; what a worker has measured by its own clock is told
-- as an age. One that stops takes its row along; that of one that was killed stays for a
-- day, with the time of its last sign of life.
CREATE TABLE casq.workers (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    schema_version integer NOT NULL, -- the newest migration that it knows
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- As /readyz has them, by name: ready, error, warning; and "seconds", for how long so.
    roles jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT workers_roles_is_an_object CHECK (jsonb_typeof(roles) = 'object'),
    waiting text, -- what it waits for before it has any role
    queues text[] COLLATE "C" NOT NULL DEFAULT '{}', -- that it serves
    -- What it sees of the log that it follows elsewhere; NULL: it follows no other.
    -- Ages are as of beat_at.
    source_timeline integer,
    source_tick bigint, -- the newest one
    source_moved interval, -- since a newer tick was seen for the first time
    source_answered interval, -- since the source has last answered
    -- How far the host that is read is behind: since it had received, or its primary had
    -- shown, what it does not show yet. 0: nothing; NULL: not known.
    source_behind interval
) WITH (fillfactor = 50);

COMMENT ON TABLE casq.workers IS
    'The worker processes, and what each last said of itself, every ten seconds. One that '
    'stops takes its row along; that of one that was killed stays for a day.';

-- Those that have shown a sign of life lately. A worker beats each ten seconds.
CREATE VIEW casq.live_workers AS
SELECT * FROM casq.workers AS w WHERE w.beat_at > clock_timestamp() - interval '30 s';

COMMENT ON VIEW casq.live_workers IS 'The rows of casq.workers that have shown a sign of life within 30 s.';
COMMENT ON COLUMN casq.live_workers.id IS 'as in casq.workers';
COMMENT ON COLUMN casq.live_workers.host IS 'its machine';
COMMENT ON COLUMN casq.live_workers.pid IS 'its number there';
COMMENT ON COLUMN casq.live_workers.version IS 'of the program';
COMMENT ON COLUMN casq.live_workers.schema_version IS 'the newest migration that it knows';
COMMENT ON COLUMN casq.live_workers.started_at IS 'when it began';
COMMENT ON COLUMN casq.live_workers.beat_at IS 'when it gave the last sign of life';
COMMENT ON COLUMN casq.live_workers.roles IS 'as /readyz has them, by name: ready, error, warning; and seconds, for how long so';
COMMENT ON COLUMN casq.live_workers.waiting IS 'what it waits for before it has any role';
COMMENT ON COLUMN casq.live_workers.queues IS 'queues that it serves';
COMMENT ON COLUMN casq.live_workers.source_timeline IS 'of the log that it follows elsewhere; NULL: it follows no other';
COMMENT ON COLUMN casq.live_workers.source_tick IS 'the newest tick that it has seen there';
COMMENT ON COLUMN casq.live_workers.source_moved IS 'since a newer tick was seen for the first time, as of beat_at';
COMMENT ON COLUMN casq.live_workers.source_answered IS 'since the source last answered, as of beat_at';
COMMENT ON COLUMN casq.live_workers.source_behind IS 'how far the host that it reads is behind its primary; NULL: not known';

-- How late, at most, a cursor has applied what it applied within ten seconds of home's
-- clock, where that is more than a second: what was in the log by then had been applied so
-- long before. So what is still to be copied is known to be that much older, once it is
-- in the registry, and nobody compares two servers' clocks.
CREATE TABLE casq.log_delays (
    cursor text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    delay interval NOT NULL,
    PRIMARY KEY (cursor, since)
);

-- What is in work of a kind that has the queue: the resource that was asked for first, as
-- far as the jobs tell, and since when the oldest run goes on. Of jobs that wait, some of
-- each urgency are read, by River's index, however many there are. Of a call with columns of
-- two collations the arguments have neither, and no index is used.
CREATE FUNCTION casq.oldest_work(kind text, queue text, OUT resource_id text, OUT queued_at timestamptz,
    OUT waits_since timestamptz, OUT runs_since timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
    WITH job AS MATERIALIZED (
        SELECT j.args, p.id IS NOT NULL AS runs, j.attempted_at
        FROM (SELECT * FROM river.river_job AS t WHERE t.state = 'running' AND t.queue = oldest_work.queue COLLATE "default" LIMIT 1000) AS j
        LEFT JOIN casq.processes AS p ON p.id::text = j.attempted_by[array_upper(j.attempted_by, 1)] AND p.dead_at IS NULL
        UNION ALL
        SELECT j.args, false, NULL
        FROM generate_series(1, 4) AS u (priority)
        CROSS JOIN LATERAL (
            SELECT t.args FROM river.river_job AS t
            WHERE t.state = 'available' AND t.queue = oldest_work.queue COLLATE "default" AND t.priority = u.priority
            ORDER BY t.scheduled_at, t.id LIMIT 20
        ) AS j
        UNION ALL
        SELECT j.args, false, NULL
        FROM (
            SELECT t.args FROM river.river_job AS t
            WHERE t.state IN ('retryable', 'scheduled') AND t.queue = oldest_work.queue COLLATE "default" LIMIT 100
        ) AS j
    ), work AS (
        SELECT r.resource_id, r.queued_at, job.runs, job.attempted_at
        FROM job
        JOIN casq.registry AS r ON r.kind = oldest_work.kind AND r.resource_id = (job.args ->> 'resource_id') COLLATE "C"
        WHERE job.args ->> 'kind' = oldest_work.kind
          AND casq.base_state(r.version, r.synced_version, r.failed_version, r.absent, r.deleted_at IS NOT NULL) IN ('pending', 'removing')
    )
    SELECT (array_agg(w.resource_id ORDER BY w.queued_at, w.resource_id))[1], min(w.queued_at),
           min(w.queued_at) FILTER (WHERE NOT w.runs), min(w.attempted_at) FILTER (WHERE w.runs)
    FROM work AS w
$$;

-- The age of the oldest event of home's own log that a cursor has not applied, in
-- seconds; for the log of another site, how long ago all that it had was applied, by
-- home's clock: NULL in caught_up_to is up to now, for as long as the holder gives signs of
-- life.
CREATE FUNCTION casq.log_age(c casq.cursors) RETURNS double precision
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT greatest(0, extract(epoch FROM clock_timestamp() - CASE
        WHEN here.id IS NOT NULL THEN (
            SELECT min(e.occurred_at) FROM (
                (SELECT e.occurred_at FROM casq.events AS e
                 WHERE e.xid >= pg_snapshot_xmax(here.snapshot)
                   AND (target.id IS NULL OR e.id > c.page OR NOT pg_visible_in_snapshot(e.xid, target.snapshot))
                 ORDER BY e.xid, e.id LIMIT 1)
                UNION ALL
                (SELECT e.occurred_at FROM pg_snapshot_xip(here.snapshot) AS late (xid)
                 CROSS JOIN LATERAL (
                    SELECT e.occurred_at FROM casq.events AS e
                    WHERE e.xid = late.xid AND (target.id IS NULL OR e.id > c.page OR NOT pg_visible_in_snapshot(e.xid, target.snapshot))
                    ORDER BY e.id LIMIT 1) AS e)
            ) AS e WHERE c.name <> 'views'
            UNION ALL
            SELECT min(n.noted_at) FROM casq.source_changes AS n WHERE c.name = 'views' AND NOT pg_visible_in_snapshot(n.xid, here.snapshot)
            ORDER BY 1 LIMIT 1)
        ELSE coalesce(c.caught_up_to, session.state_change,
                      CASE WHEN session.pid IS NULL THEN greatest(c.moved_at, c.beat_at) END)
        END), 0)::double precision
    FROM (VALUES (1)) AS one
    LEFT JOIN casq.ticks AS here ON here.id = c.tick AND here.nonce = c.nonce
    LEFT JOIN casq.ticks AS target ON target.id = c.to_tick AND target.nonce = c.to_nonce
    -- Of a session of another role only the pid is told.
    LEFT JOIN LATERAL (
        SELECT a.pid, a.state_change FROM pg_stat_get_activity(coalesce(c.backend_pid, 0)) AS a
        WHERE a.backend_start = c.backend_start OR a.backend_start IS NULL
    ) AS session ON true
$$;

-- What is known of the log that the registry follows elsewhere, by the live worker that
-- knows most of it. away and stands: for how long it has not answered, or had no new tick,
-- if that is too long: in a log whose ticks are taken there is one each ten seconds.
CREATE VIEW casq.followed_log AS
SELECT w.source_timeline AS timeline, w.source_tick AS tick, w.beat_at AS measured_at, w.source_behind AS behind,
       CASE WHEN w.source_answered >= interval '30 s' THEN clock_timestamp() - w.beat_at + w.source_answered END AS away,
       CASE WHEN w.source_answered < interval '30 s' AND w.source_moved >= interval '30 s'
            THEN clock_timestamp() - w.beat_at + w.source_moved END AS stands
FROM casq.live_workers AS w
WHERE w.source_answered IS NOT NULL
ORDER BY w.source_answered >= interval '30 s', w.source_timeline DESC NULLS LAST, w.source_tick DESC NULLS LAST, w.source_moved
LIMIT 1;

COMMENT ON VIEW casq.followed_log IS
    'What is known of the log that is followed elsewhere, by the live worker that knows most '
    'of it. No row where no other is followed.';
COMMENT ON COLUMN casq.followed_log.timeline IS 'timeline of the log';
COMMENT ON COLUMN casq.followed_log.tick IS 'its newest tick';
COMMENT ON COLUMN casq.followed_log.measured_at IS 'when that worker has told so';
COMMENT ON COLUMN casq.followed_log.behind IS 'how far the host that is read is behind its primary; NULL: not known';
COMMENT ON COLUMN casq.followed_log.away IS 'for how long it has not answered; NULL: it does';
COMMENT ON COLUMN casq.followed_log.stands IS 'for how long it has had no new tick; NULL: it has them';

-- How late copies are, by kind, in seconds; NULL where this site copies nothing.
--
-- lag_seconds: the age of the oldest change that is committed at the source, and not in place here.
-- It has four stages; each is the age of the oldest change in it since it came there:
--   to_standby_seconds   in the primary's log, not shown by the host that is followed yet; NULL: not
--                        known, as that host does not answer
--   to_registry_seconds  shown there, not applied here
--   queue_seconds        in the registry, and no process works on it
--   copy_seconds         a process works on it
-- What has failed is not late: see casq.registry_failures. What waits in the queue is told
-- to ten seconds, and exactly where the jobs name the resource (oldest_resource).
--
-- All by home's clock, or as ages that one process has measured by its own: no time of
-- another server is compared. So a change that was committed while the log did not come is
-- taken to be as old as that: oldest_at is when it was committed at the earliest.
-- measured_at is when a worker has last told of the log, timeline and tick how far it is
-- applied.
CREATE VIEW casq.replication_lags AS
SELECT k.kind,
       greatest(coalesce(log.to_standby, 0) + log.to_registry, extract(epoch FROM now.at - work.oldest_at)::double precision) AS lag_seconds,
       log.to_standby AS to_standby_seconds, log.to_registry AS to_registry_seconds,
       CASE WHEN log.tick IS NOT NULL THEN coalesce(greatest(0, extract(epoch FROM now.at - work.waits_since)), 0)::double precision END AS queue_seconds,
       CASE WHEN log.tick IS NOT NULL THEN coalesce(greatest(0, extract(epoch FROM now.at - work.runs_since)), 0)::double precision END AS copy_seconds,
       coalesce(work.resources, 0) AS resources, work.oldest_at, work.resource_id AS oldest_resource,
       log.timeline, log.tick, log.measured_at
FROM casq.kinds AS k
CROSS JOIN (SELECT clock_timestamp() AS at) AS now
LEFT JOIN (
    SELECT c.timeline, c.tick, CASE WHEN own.here THEN clock_timestamp() ELSE f.measured_at END AS measured_at,
           CASE WHEN own.here THEN 0
                WHEN f.away IS NULL THEN extract(epoch FROM greatest(f.behind, f.stands)) END::double precision AS to_standby,
           greatest(0, casq.log_age(c) - CASE WHEN own.here THEN 0 ELSE coalesce(extract(epoch FROM f.stands), 0) END)::double precision AS to_registry
    FROM casq.cursors AS c
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM casq.ticks AS t WHERE t.id = c.tick AND t.nonce = c.nonce) AS here) AS own
    LEFT JOIN casq.followed_log AS f ON true
    WHERE c.name = 'registry'
) AS log ON true
LEFT JOIN (
    SELECT g.kind, sum(g.count)::bigint AS resources, min(g.since) AS since, min(g.since) FILTER (WHERE p.id IS NULL) AS waits_since,
           min(g.since) - min(g.since - coalesce(d.delay, interval '0')) AS delay
    FROM (
        SELECT g.kind, g.state, g.since, g.process, sum(g.count) AS count
        FROM (
            SELECT g.kind, g.state, g.since, g.process, g.count FROM casq.registry_groups AS g
            UNION ALL
            SELECT w.kind, 'removing', w.since, w.process, -1 FROM casq.kept_copies() AS w
        ) AS g
        GROUP BY g.kind, g.state, g.since, g.process HAVING sum(g.count) > 0
    ) AS g
    LEFT JOIN casq.processes AS p ON p.id = g.process AND p.dead_at IS NULL
    LEFT JOIN casq.log_delays AS d ON d.cursor = 'registry' AND d.since = g.since
    WHERE g.state IN ('pending', 'removing')
    GROUP BY g.kind
) AS g ON g.kind = k.kind
LEFT JOIN LATERAL (
    -- A group is of ten seconds: what it has came then, and not before.
    SELECT g.resources, w.resource_id, w.runs_since,
           CASE WHEN w.queued_at < g.since + interval '10 s' THEN w.queued_at ELSE least(now.at, g.since + interval '10 s') END - g.delay AS oldest_at,
           CASE WHEN w.waits_since < g.waits_since + interval '10 s' THEN w.waits_since ELSE least(now.at, g.waits_since + interval '10 s') END AS waits_since
    FROM casq.oldest_work(k.kind, k.queue) AS w
    WHERE g.resources > 0
) AS work ON true;

COMMENT ON VIEW casq.replication_lags IS
    'How late copies are, by kind, in seconds by this database''s clock: what is committed at '
    'the source, and not in place here. Right when idle (0), while the source is away (it '
    'grows), and after a failover. What has failed is not late: see casq.registry_failures.';
COMMENT ON COLUMN casq.replication_lags.kind IS 'its kind';
COMMENT ON COLUMN casq.replication_lags.lag_seconds IS 'age of the oldest change that is not in place; NULL where this site copies nothing';
COMMENT ON COLUMN casq.replication_lags.to_standby_seconds IS 'in the primary''s log, and not shown by the host that is followed; NULL: not known';
COMMENT ON COLUMN casq.replication_lags.to_registry_seconds IS 'shown there, and not applied here';
COMMENT ON COLUMN casq.replication_lags.queue_seconds IS 'in the registry, and no process works on it, to ten seconds';
COMMENT ON COLUMN casq.replication_lags.copy_seconds IS 'a process works on it';
COMMENT ON COLUMN casq.replication_lags.resources IS 'how many are not in place';
COMMENT ON COLUMN casq.replication_lags.oldest_at IS 'when the oldest of them was committed, at the earliest';
COMMENT ON COLUMN casq.replication_lags.oldest_resource IS 'its key, where the jobs name it';
COMMENT ON COLUMN casq.replication_lags.timeline IS 'timeline of the log';
COMMENT ON COLUMN casq.replication_lags.tick IS 'the newest tick that is applied here';
COMMENT ON COLUMN casq.replication_lags.measured_at IS 'when a worker has last told of the log';

-- The lag of one kind: see casq.replication_lags.
CREATE FUNCTION casq.replication_lag(kind text) RETURNS SETOF casq.replication_lags
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM casq.replication_lags AS l WHERE l.kind = replication_lag.kind
$$;
COMMENT ON FUNCTION casq.replication_lag IS 'The row of casq.replication_lags of one kind.';

-- What would be lost, by kind, if the site that is followed were lost now: the resources that
-- are wanted here and not in place, and the bytes that were asked for of them, as far as their
-- payloads tell a size. What is in the log and not applied comes on top: see
-- casq.replication_lags for how late that is.
CREATE VIEW casq.at_risk AS
SELECT k.kind, coalesce(sum(g.count), 0)::bigint AS resources, coalesce(sum(g.asked), 0) AS bytes
FROM casq.kinds AS k
LEFT JOIN (
    SELECT c.kind, c.state, c.deleted, c.count, c.asked FROM casq.registry_counts AS c
    UNION ALL
    SELECT d.kind, d.state, d.deleted, d.count, d.asked FROM casq.registry_changes AS d
) AS g ON g.kind = k.kind AND g.state IN ('pending', 'failed') AND NOT g.deleted
GROUP BY k.kind;

-- What the log has beyond a tick: the events, of how many resources, and the bytes that came
-- with them. At most 10,000 are read: more tells that there may be more. No row when the
-- tick is gone.
CREATE FUNCTION casq.events_beyond(tick bigint, nonce uuid)
RETURNS TABLE (events bigint, resources bigint, bytes numeric, more boolean, oldest timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT b.*
    FROM casq.ticks AS mine
    CROSS JOIN LATERAL (
        SELECT count(*), count(DISTINCT (e.kind, e.resource_id)), coalesce(sum(greatest(e.size_delta, 0)), 0), count(*) = 10000, min(e.occurred_at)
        FROM (
            SELECT e.* FROM (
                SELECT l.kind, l.resource_id, l.size_delta, l.occurred_at
                FROM pg_snapshot_xip(mine.snapshot) AS late (xid)
                CROSS JOIN LATERAL (SELECT * FROM casq.events AS e WHERE e.xid = late.xid OFFSET 0) AS l
                UNION ALL
                SELECT n.kind, n.resource_id, n.size_delta, n.occurred_at FROM casq.events AS n WHERE n.xid >= pg_snapshot_xmax(mine.snapshot)
            ) AS e
            LIMIT 10000
        ) AS e
    ) AS b
    WHERE mine.id = events_beyond.tick AND mine.nonce = events_beyond.nonce
$$;

-- The sites that follow this log, and what would be lost if this one were lost now, as far as
-- it is known here: what is in the log and not applied there, at most 10,000 events each;
-- and what was not in place there when it has last reported.
CREATE VIEW casq.follower_status AS
SELECT f.name, f.reported_at, f.tick, b.events, b.resources AS event_resources, b.bytes AS event_bytes, b.more,
       coalesce(extract(epoch FROM clock_timestamp() - b.oldest), CASE WHEN b.events = 0 THEN 0 END)::double precision AS lag_seconds,
       f.resources, f.bytes
FROM casq.followers AS f
LEFT JOIN LATERAL casq.events_beyond(f.tick, f.nonce) AS b ON true;

COMMENT ON VIEW casq.at_risk IS 'What would be lost, by kind, if the site that is followed were lost now: what is wanted here and not in place.';
COMMENT ON COLUMN casq.at_risk.kind IS 'as in casq.kinds';
COMMENT ON COLUMN casq.at_risk.resources IS 'how many resources: pending, at work or failed';
COMMENT ON COLUMN casq.at_risk.bytes IS 'the bytes that were asked for of them, where their payload has a size';
COMMENT ON VIEW casq.follower_status IS 'The sites that follow this log, and what they would lose if this one were lost now.';
COMMENT ON COLUMN casq.follower_status.name IS 'as in casq.followers';
COMMENT ON COLUMN casq.follower_status.reported_at IS 'as in casq.followers';
COMMENT ON COLUMN casq.follower_status.tick IS 'as in casq.followers';
COMMENT ON COLUMN casq.follower_status.events IS 'how many events it has still to apply, counted up to 10,000';
COMMENT ON COLUMN casq.follower_status.event_resources IS 'of how many resources they are';
COMMENT ON COLUMN casq.follower_status.event_bytes IS 'the bytes that came with them';
COMMENT ON COLUMN casq.follower_status.more IS 'there may be more of them';
COMMENT ON COLUMN casq.follower_status.lag_seconds IS 'age of the oldest of them; 0: none';
COMMENT ON COLUMN casq.follower_status.resources IS 'how many resources it wanted and had not in place when it has reported';
COMMENT ON COLUMN casq.follower_status.bytes IS 'the bytes that were asked for of those';

-- Something that is not as it should be: since when, and the command to look at it.
-- critical: what was promised is not kept, or soon is not, unless somebody acts; warning: it is
-- to be seen to; notice: it is to be known, and the site is well.
CREATE TYPE casq.problem AS (severity text, what text, since timestamptz, command text);

-- Does anybody go by ticks that are taken here? An event that no tick shows is one that
-- somebody has appended, also where no table is tracked.
CREATE FUNCTION casq.needs_ticks() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM casq.tracked) OR EXISTS (SELECT FROM casq.runners) OR EXISTS (SELECT FROM casq.followers)
        OR EXISTS (SELECT FROM casq.events AS e
                   WHERE e.id > coalesce((SELECT t.high_id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1), 0))
        OR EXISTS (SELECT FROM casq.cursors AS c JOIN casq.ticks AS t ON t.id = c.tick AND t.nonce = c.nonce)
$$;

-- A worker that begins is given ten seconds: each restart would be told as a failure.
CREATE FUNCTION casq.problems_of_workers() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH state AS MATERIALIZED (
        SELECT w.id, w.host, w.pid, r.role, (r.state ->> 'ready')::boolean AS ready, r.state ->> 'error' AS error, r.state ->> 'warning' AS warning,
               w.beat_at - make_interval(secs => (r.state ->> 'seconds')::double precision) AS since
        FROM casq.live_workers AS w CROSS JOIN LATERAL jsonb_each(w.roles) AS r (role, state)
    ), expected (role, does) AS (
        SELECT 'ticker', 'takes ticks' WHERE casq.needs_ticks()
        UNION ALL SELECT 'counters', 'counts' WHERE EXISTS (SELECT FROM casq.tracked AS t WHERE t.scope_column IS NOT NULL)
        UNION ALL SELECT x.role, x.does FROM (VALUES ('registry', 'follows the log'), ('sync', 'copies')) AS x (role, does)
            WHERE EXISTS (SELECT FROM casq.cursors AS c WHERE c.name = 'registry')
        UNION ALL SELECT 'runner', 'hands out builds' WHERE EXISTS (SELECT FROM casq.runners)
        UNION ALL SELECT 'views', 'evaluates tracked views' WHERE EXISTS (SELECT FROM casq.views)
    )
    -- One that stops in order takes its row along: no tick was taken since.
    SELECT 'critical', 'no worker is running', coalesce((SELECT max(w.beat_at) FROM casq.workers AS w),
               (SELECT t.taken_at FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1)), 'worker run'
    WHERE NOT EXISTS (SELECT FROM casq.live_workers) AND EXISTS (SELECT FROM expected)
    UNION ALL
    SELECT 'critical', format('no worker %s%s', e.does, ': ' || s.error), s.since, 'enqueue status'
    FROM expected AS e
    LEFT JOIN LATERAL (SELECT t.error, t.since FROM state AS t WHERE t.role = e.role ORDER BY t.since LIMIT 1) AS s ON true
    WHERE coalesce(s.since, (SELECT min(w.started_at) FROM casq.live_workers AS w)) < clock_timestamp() - interval '10 s'
      AND NOT EXISTS (SELECT FROM state AS t WHERE t.role = e.role AND t.ready)
      -- Said of the log, see below.
      AND NOT (e.role = 'registry' AND EXISTS (SELECT FROM casq.followed_log AS f WHERE f.away IS NOT NULL))
    UNION ALL
    -- Nobody else copies where the folders of all are not what they were.
    SELECT CASE WHEN s.role = 'folders' AND NOT EXISTS (
                    SELECT FROM state AS t WHERE t.role = 'sync' AND t.ready AND NOT EXISTS (
                        SELECT FROM state AS f WHERE f.id = t.id AND f.role = 'folders'))
                THEN 'critical' ELSE 'warning' END,
           format('worker %s on %s is not ready (%s): %s', s.pid, s.host, s.role, coalesce(s.error, 'it begins')), s.since, 'enqueue status'
    FROM state AS s
    WHERE NOT s.ready AND s.since < clock_timestamp() - interval '10 s' AND (s.role NOT IN (SELECT e.role FROM expected AS e) OR EXISTS (SELECT FROM state AS t WHERE t.role = s.role AND t.ready))
    UNION ALL
    SELECT 'warning', format('worker %s on %s (%s): %s', s.pid, s.host, s.role, s.warning), s.since, 'enqueue status'
    FROM state AS s
    WHERE s.warning IS NOT NULL AND s.role <> 'registry' -- said of the log
    UNION ALL
    SELECT 'warning', format('worker %s on %s waits for %s', w.pid, w.host, w.waiting), w.started_at, 'enqueue status'
    FROM casq.live_workers AS w WHERE w.waiting IS NOT NULL AND w.started_at < clock_timestamp() - interval '10 s'
    UNION ALL
    SELECT 'warning', format('worker %s on %s is of schema %s, and the database of %s', w.pid, w.host, w.schema_version, v.version),
           w.started_at, CASE WHEN w.schema_version > v.version THEN 'worker migrate up' ELSE 'worker --version' END
    FROM casq.live_workers AS w JOIN casq.migration_version AS v ON v.version <> w.schema_version
$$;

CREATE FUNCTION casq.problems_of_log() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
    SELECT 'critical', 'no tick is taken here: nothing that is written is seen', n.taken_at, 'enqueue status'
    FROM (SELECT t.taken_at FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1) AS n
    WHERE n.taken_at < clock_timestamp() - interval '30 s' AND casq.needs_ticks()
    UNION ALL
    SELECT 'critical', 'no tick was ever taken here: nothing that is written is seen', w.since, 'worker run'
    FROM (SELECT least((SELECT min(k.tracked_at) FROM casq.tracked AS k),
                       (SELECT e.occurred_at FROM casq.events AS e ORDER BY e.id LIMIT 1)) AS since) AS w
    WHERE NOT EXISTS (SELECT FROM casq.ticks) AND w.since < clock_timestamp() - interval '30 s'
    UNION ALL
    SELECT 'critical', 'the source does not answer', clock_timestamp() - f.away, 'enqueue status'
    FROM casq.followed_log AS f WHERE f.away IS NOT NULL
    UNION ALL
    SELECT 'critical', 'the source has no new tick: no worker takes ticks on its primary, or it is a standby that is not replicated to',
           clock_timestamp() - f.stands, 'enqueue status'
    FROM casq.followed_log AS f WHERE f.stands IS NOT NULL
    UNION ALL
    SELECT 'critical', format('no process holds cursor %s%s', c.name, ': ' || c.last_error), greatest(c.moved_at, c.beat_at), 'SELECT * FROM casq.cursor_status'
    FROM casq.cursors AS c
    WHERE greatest(c.moved_at, c.beat_at) < clock_timestamp() - interval '1 minute'
      AND NOT EXISTS (SELECT FROM pg_stat_get_activity(coalesce(c.backend_pid, 0)) AS a WHERE a.backend_start = c.backend_start OR a.backend_start IS NULL)
      AND EXISTS (SELECT FROM casq.live_workers)
    UNION ALL
    SELECT 'warning', format('cursor %s does not go on: %s', c.name, c.last_error), greatest(c.moved_at, c.beat_at), 'SELECT * FROM casq.cursor_status'
    FROM casq.cursors AS c
    WHERE c.last_error IS NOT NULL AND casq.log_age(c) > 30
    UNION ALL
    SELECT 'warning', format('%s events of kind %s could not be applied', CASE WHEN sum(count(*)) OVER () < 10000 THEN count(*)::text ELSE 'at least ' || count(*) END, f.kind),
           min(f.failed_at), 'enqueue replay --all'
    FROM (SELECT e.kind, e.failed_at FROM casq.event_failures AS e WHERE e.replayed_at IS NULL LIMIT 10000) AS f
    GROUP BY f.kind
$$;

-- Those who keep the log from being pruned: one that is away, and one that is far behind.
CREATE FUNCTION casq.problems_of_followers() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
    SELECT 'warning', format('site %s does not report any more', f.name), f.reported_at, format('SELECT casq.forget_follower(%L)', f.name)
    FROM casq.followers AS f WHERE f.reported_at < clock_timestamp() - interval '10 minutes'
    UNION ALL
    SELECT 'warning', format('%s holds the log back', r.name), next.taken_at, r.command
    FROM (
        SELECT 'site ' || f.name AS name, f.tick, f.nonce, 'SELECT * FROM casq.followers' AS command FROM casq.followers AS f
        WHERE f.reported_at >= clock_timestamp() - interval '10 minutes'
        UNION ALL
        SELECT 'cursor ' || c.name, c.tick, c.nonce, 'SELECT * FROM casq.cursor_status' FROM casq.cursors AS c
        UNION ALL
        SELECT * FROM (SELECT 'the counters', s.tick, s.nonce, 'SELECT * FROM casq.counter_status' FROM casq.counter_shards AS s ORDER BY s.tick LIMIT 1) AS s
        WHERE EXISTS (SELECT FROM casq.tracked AS t WHERE t.scope_column IS NOT NULL)
    ) AS r
    JOIN casq.ticks AS t ON t.id = r.tick AND t.nonce = r.nonce
    CROSS JOIN LATERAL (SELECT n.taken_at FROM casq.ticks AS n WHERE n.id > t.id ORDER BY n.id LIMIT 1) AS next
    WHERE next.taken_at < clock_timestamp() - interval '1 hour'
$$;

-- Since when the jobs of a queue have waited that could be fetched: any of them, and those of
-- events and single requests. Four look-ups by the index that fetching uses.
CREATE FUNCTION casq.oldest_runnable(queue text, OUT any_since timestamptz, OUT urgent_since timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
    SELECT min(j.scheduled_at), min(j.scheduled_at) FILTER (WHERE u.priority = 1)
    FROM generate_series(1, 4) AS u (priority)
    CROSS JOIN LATERAL (
        SELECT t.scheduled_at FROM river.river_job AS t
        WHERE t.state = 'available' AND t.queue = oldest_runnable.queue COLLATE "default" AND t.priority = u.priority
        ORDER BY t.scheduled_at, t.id LIMIT 1
    ) AS j
$$;

CREATE FUNCTION casq.problems_of_queues() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH q AS MATERIALIZED (
        SELECT n.name, r.paused_at, o.any_since, o.urgent_since, EXISTS (SELECT FROM casq.live_workers AS w WHERE n.name = ANY (w.queues)) AS served
        FROM (SELECT k.queue AS name FROM casq.kinds AS k UNION SELECT t.name FROM river.river_queue AS t) AS n
        LEFT JOIN river.river_queue AS r ON r.name = n.name
        CROSS JOIN LATERAL casq.oldest_runnable(n.name) AS o
    )
    SELECT CASE WHEN q.any_since IS NULL THEN 'notice' ELSE 'warning' END, format('queue %s is paused%s', q.name, CASE WHEN q.any_since IS NOT NULL THEN ', and has jobs' END),
           q.paused_at, format('enqueue queue resume %s', q.name)
    FROM q WHERE q.paused_at IS NOT NULL
    UNION ALL
    SELECT 'critical', format('no worker serves queue %s, and it has jobs', q.name), q.any_since, 'enqueue queue list'
    FROM q WHERE q.paused_at IS NULL AND NOT q.served AND q.any_since < clock_timestamp() - interval '30 s' AND EXISTS (SELECT FROM casq.live_workers)
    UNION ALL
    SELECT 'warning', format('jobs of queue %s wait for a worker that has time', q.name), q.urgent_since, 'enqueue queue list'
    FROM q WHERE q.paused_at IS NULL AND q.served AND q.urgent_since < clock_timestamp() - interval '5 minutes'
$$;

CREATE FUNCTION casq.problems_of_registry() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN l.lag_seconds >= 900 THEN 'critical' ELSE 'warning' END,
           format('copies of kind %s are late, most of it %s', l.kind, CASE greatest(l.to_standby_seconds, l.to_registry_seconds, l.queue_seconds, l.copy_seconds)
               WHEN l.to_standby_seconds THEN 'on the way to the host that is followed' WHEN l.to_registry_seconds THEN 'on the way to the registry'
               WHEN l.queue_seconds THEN 'in the queue' ELSE 'in a run' END),
           clock_timestamp() - make_interval(secs => l.lag_seconds), format('SELECT * FROM casq.replication_lag(%L)', l.kind)
    FROM casq.replication_lags AS l WHERE l.lag_seconds >= 300
    UNION ALL
    SELECT CASE WHEN f.failed * 20 >= f.total THEN 'warning' ELSE 'notice' END, format('%s of %s resources of kind %s have failed', f.failed, f.total, f.kind),
           f.since, 'SELECT * FROM casq.registry_failures'
    FROM (
        SELECT g.kind, sum(g.count) FILTER (WHERE g.state = 'failed') AS failed, sum(g.count) AS total, min(g.at) FILTER (WHERE g.state = 'failed') AS since
        FROM (
            SELECT c.kind, c.state, c.count, c.first_at AS at FROM casq.registry_counts AS c
            UNION ALL
            SELECT d.kind, d.state, d.count, CASE WHEN d.count > 0 THEN d.at END FROM casq.registry_changes AS d
        ) AS g
        WHERE g.state <> 'removed' GROUP BY g.kind
    ) AS f
    WHERE f.failed > 0
    UNION ALL
    SELECT * FROM casq.late_probes()
    UNION ALL
    SELECT 'warning', format('reconcile %s waits: %s', r.id, r.waiting), r.requested_at, 'SELECT * FROM casq.reconcile_report WHERE finished_at IS NULL'
    FROM casq.reconcile_runs AS r WHERE r.finished_at IS NULL AND r.waiting IS NOT NULL
$$;

CREATE FUNCTION casq.problems_of_counters() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT CASE WHEN s.asked THEN 'notice' ELSE 'warning' END, format('counters of kind %s are not exact%s', k.kind, CASE WHEN s.asked THEN ', and are recounted' END),
           k.since, CASE WHEN s.asked THEN 'enqueue status' ELSE format('enqueue refresh --kind %s --all', k.kind) END
    FROM casq.counter_kinds AS k
    JOIN casq.tracked AS t ON t.kind = k.kind AND t.scope_column IS NOT NULL
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM casq.scans AS s WHERE s.kind = k.kind AND s.all_scopes AND NOT s.compare AND s.finished_at IS NULL) AS asked) AS s
    WHERE NOT k.complete
    UNION ALL
    SELECT 'critical', format('counters of kind %s differ from their table', k.kind), k.differs_since, format('enqueue refresh --kind %s --all', k.kind)
    FROM casq.counter_kinds AS k
    JOIN casq.tracked AS t ON t.kind = k.kind AND t.scope_column IS NOT NULL
    WHERE k.differs_since IS NOT NULL
    UNION ALL
    SELECT 'warning', format('recount %s of kind %s %s', s.id, s.kind, CASE WHEN s.started_at IS NULL THEN 'has not begun'
               WHEN s.scanned_at IS NOT NULL THEN 'has counted, and is not swapped in' ELSE format('was begun %s times', s.tries) END),
           coalesce(s.scanned_at, s.started_at, s.requested_at), 'enqueue status'
    FROM casq.scans AS s
    WHERE s.finished_at IS NULL AND s.part_of IS NULL AND NOT s.in_parts
      AND (s.started_at IS NULL AND s.requested_at < clock_timestamp() - interval '10 minutes'
           OR s.scanned_at < clock_timestamp() - interval '10 minutes' OR s.tries > 5)
    UNION ALL
    SELECT 'warning', 'counters are late', clock_timestamp() - max(c.buffer_age), 'SELECT * FROM casq.counter_status'
    FROM casq.counter_status AS c
    WHERE EXISTS (SELECT FROM casq.tracked AS t WHERE t.scope_column IS NOT NULL)
    HAVING max(c.buffer_age) > interval '1 minute'
$$;

-- The sets of tags that builds wait with are found from one to the next, by the index, and
-- of each the build that comes first.
CREATE FUNCTION casq.problems_of_builds() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
    WITH RECURSIVE lane (tag_set) AS (
        (SELECT b.tag_set FROM casq.builds AS b WHERE b.in_queue ORDER BY b.tag_set LIMIT 1)
        UNION ALL
        SELECT n.tag_set FROM lane CROSS JOIN LATERAL (
            SELECT b.tag_set FROM casq.builds AS b WHERE b.in_queue AND b.tag_set > lane.tag_set ORDER BY b.tag_set LIMIT 1
        ) AS n
    )
    (SELECT 'warning', format('builds %s wait, and no runner that takes them was heard of within 5 minutes',
                CASE WHEN s.tags = '{}' THEN 'without tags' ELSE 'with the tags ' || array_to_string(s.tags, ', ') END),
            head.pending_at, 'enqueue runner list'
     FROM lane JOIN casq.tag_sets AS s ON s.id = lane.tag_set
     CROSS JOIN LATERAL (
        SELECT b.pending_at, b.project_id FROM casq.builds AS b WHERE b.tag_set = lane.tag_set AND b.in_queue
        ORDER BY b.priority DESC, b.turn, b.id LIMIT 1
     ) AS head
     WHERE head.pending_at < clock_timestamp() - interval '5 minutes' AND NOT EXISTS (
        SELECT FROM casq.runners AS r JOIN casq.runner_managers AS m ON m.runner_id = r.id
        WHERE NOT r.paused AND m.contacted_at > clock_timestamp() - interval '5 minutes'
          AND (r.projects IS NULL OR head.project_id = ANY (r.projects))
          AND CASE WHEN s.tags = '{}' THEN r.run_untagged ELSE s.tags <@ r.tags END)
     LIMIT 20)
    UNION ALL
    SELECT 'warning', format('%s builds were handed out and have not begun', count(*)), min(b.assigned_at), 'enqueue builds --status running'
    FROM casq.builds AS b
    WHERE b.status = 'running' AND b.started_at IS NULL AND b.assigned_at < clock_timestamp() - interval '1 minute'
    HAVING count(*) > 0
$$;

-- Since when a transaction is open that has written, as the ticks tell: the first one that
-- knows of it; or one of this database's sessions that this role may see. Any role sees the
-- former, which may be of another database of the server: snapshots do not tell. A few
-- look-ups, however many ticks there are.
CREATE FUNCTION casq.oldest_transaction() RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    oldest xid8 := pg_snapshot_xmin(pg_current_snapshot());
    low bigint := (SELECT t.id FROM casq.ticks AS t ORDER BY t.id LIMIT 1);
    high bigint := (SELECT t.id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1);
    middle bigint;
    since timestamptz;
BEGIN
    IF oldest < pg_snapshot_xmax(pg_current_snapshot()) THEN
        WHILE low < high LOOP
            middle := low + (high - low) / 2;
            IF (SELECT pg_snapshot_xmax(t.snapshot) > oldest FROM casq.ticks AS t WHERE t.id <= middle ORDER BY t.id DESC LIMIT 1) THEN
                high := middle;
            ELSE
                low := middle + 1;
            END IF;
        END LOOP;
        SELECT t.taken_at INTO since FROM casq.ticks AS t WHERE t.id = high AND pg_snapshot_xmax(t.snapshot) > oldest;
    END IF;
    RETURN least(since, (SELECT min(a.xact_start) FROM pg_stat_activity AS a
                         WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.datname = current_database()),
        (SELECT min(x.prepared) FROM pg_prepared_xacts AS x WHERE x.database = current_database()));
END $$;

CREATE FUNCTION casq.problems_of_server() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'warning', 'a transaction is open for long: in its database nothing that went since can be vacuumed', t.since,
           'SELECT datname, pid, usename, application_name, state, xact_start FROM pg_stat_activity ORDER BY xact_start'
    FROM (SELECT casq.oldest_transaction() AS since) AS t WHERE t.since < clock_timestamp() - interval '30 minutes'
    UNION ALL
    SELECT CASE WHEN s.wal_status IN ('unreserved', 'lost') THEN 'critical' ELSE 'warning' END,
           format('replication slot %s %s', s.slot_name, CASE WHEN s.wal_status = 'lost' THEN 'is lost' ELSE 'holds more than 1 GiB of the WAL' END),
           NULL, 'SELECT * FROM pg_replication_slots'
    FROM pg_replication_slots AS s
    WHERE s.wal_status IN ('unreserved', 'lost')
       OR pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn) > 1073741824
    UNION ALL
    -- Roles without pg_monitor see none.
    SELECT 'warning', format('standby %s is late', r.application_name), clock_timestamp() - r.replay_lag, 'SELECT * FROM pg_stat_replication'
    FROM pg_stat_replication AS r WHERE r.replay_lag > interval '1 minute'
$$;

-- Tracked views that are not followed, and rows of them that are not.
CREATE FUNCTION casq.problems_of_views() RETURNS SETOF casq.problem
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'critical', format('view %s of kind %s is not followed: %s', v.name, v.kind, v.error), v.failed_at, 'SELECT * FROM casq.view_status'
    FROM casq.views AS v WHERE v.error IS NOT NULL
    UNION ALL
    SELECT 'critical', s.problem, s.problem_at, 'SELECT * FROM casq.view_status' FROM casq.sources AS s WHERE s.problem IS NOT NULL
    UNION ALL
    SELECT 'warning', format('%s rows of view %s are not followed, such as that of id %s: %s', i.n, v.name, i.id, i.reason), i.since,
           'SELECT * FROM casq.view_ids WHERE reason IS NOT NULL'
    FROM casq.views AS v
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, min(p.failed_at) AS since, min(p.id) AS id, (array_agg(p.reason ORDER BY p.id))[1] AS reason
        FROM (SELECT * FROM casq.view_ids AS w WHERE w.kind = v.kind AND w.reason IS NOT NULL LIMIT 10000) AS p
    ) AS i WHERE i.n > 0
$$;

-- How this site is: one row that is ok, or one for each problem, the most severe first. Nothing
-- is scanned that grows. The words are the same while the problem is. It is asked of a
-- primary.
CREATE FUNCTION casq.health() RETURNS TABLE (ok boolean, severity text, what text, since timestamptz, command text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH problem AS MATERIALIZED (
        SELECT * FROM casq.problems_of_workers() UNION ALL SELECT * FROM casq.problems_of_log()
        UNION ALL SELECT * FROM casq.problems_of_followers() UNION ALL SELECT * FROM casq.problems_of_queues()
        UNION ALL SELECT * FROM casq.problems_of_registry() UNION ALL SELECT * FROM casq.problems_of_counters()
        UNION ALL SELECT * FROM casq.problems_of_views() UNION ALL SELECT * FROM casq.problems_of_builds() UNION ALL SELECT * FROM casq.problems_of_server()
    )
    (SELECT p.severity = 'notice', p.severity, p.what, date_trunc('second', p.since), p.command
     FROM problem AS p
     ORDER BY array_position('{critical,warning,notice}', p.severity), p.since, p.what)
    UNION ALL
    SELECT true, 'ok', 'ok', NULL, 'enqueue status' WHERE NOT EXISTS (SELECT FROM problem)
$$;
COMMENT ON FUNCTION casq.health IS
    'How this site is: one row that is ok, or a row for each problem, the most severe first: '
    'since when, and the command to look at it. critical: what was promised is not kept, or '
    'soon is not; warning: to be seen to; notice: to be known. Ask a primary. It scans '
    'nothing that grows.';

-- The same in one sentence: ok, or the most severe problem, since when, the command to look
-- at it, and how many more there are. And all of them, for who shows both.
CREATE FUNCTION casq.health_report(OUT sentence text, OUT problems jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO' AS $$
    WITH h AS MATERIALIZED (SELECT * FROM casq.health() WITH ORDINALITY)
    SELECT coalesce((
        SELECT format('%s: %s%s (%s)%s', f.severity, f.what, ', since ' || f.since, f.command,
            CASE WHEN f.more > 0 THEN format('; and %s more', f.more) END)
        FROM (SELECT h.*, count(*) OVER () - 1 AS more FROM h WHERE NOT h.ok ORDER BY h.ordinality LIMIT 1) AS f
    ), 'ok'),
    (SELECT coalesce(jsonb_agg(jsonb_build_object('severity', h.severity, 'what', h.what, 'since', h.since, 'command', h.command) ORDER BY h.ordinality), '[]')
     FROM h WHERE h.severity <> 'ok')
$$;
CREATE FUNCTION casq.health_sentence() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.sentence FROM casq.health_report() AS r
$$;
COMMENT ON FUNCTION casq.health_sentence IS
    'The same in one sentence: ok, or the most severe problem, since when, the command to '
    'look at it, and how many more there are.';

---- create above / drop below ----

-- Lock: its own tables. Deploy: at any time.
DROP FUNCTION casq.health_sentence();
DROP FUNCTION casq.health_report();
DROP FUNCTION casq.health();
DROP FUNCTION casq.problems_of_views();
DROP FUNCTION casq.problems_of_server();
DROP FUNCTION casq.oldest_transaction();
DROP FUNCTION casq.problems_of_builds();
DROP FUNCTION casq.problems_of_counters();
DROP FUNCTION casq.problems_of_registry();
DROP FUNCTION casq.problems_of_queues();
DROP FUNCTION casq.oldest_runnable(text);
DROP FUNCTION casq.problems_of_followers();
DROP FUNCTION casq.problems_of_log();
DROP FUNCTION casq.problems_of_workers();
DROP FUNCTION casq.needs_ticks();
DROP TYPE casq.problem;
DROP VIEW casq.follower_status;
DROP FUNCTION casq.events_beyond(bigint, uuid);
DROP VIEW casq.at_risk;
DROP FUNCTION casq.replication_lag(text);
DROP VIEW casq.replication_lags;
DROP VIEW casq.followed_log;
DROP FUNCTION casq.log_age(casq.cursors);
DROP FUNCTION casq.oldest_work(text, text);
DROP TABLE casq.log_delays;
DROP VIEW casq.live_workers;
DROP TABLE casq.workers;
