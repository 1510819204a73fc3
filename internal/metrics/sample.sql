-- name: Registry
-- Each statement returns a family's name, the values of its labels in their order, and a
-- value. None reads more the more a table has: what is counted here is counted up to a
-- limit, over an index; all else is kept as a count, or is one row at an index's end.
--
-- From the counts that are kept: see casq.registry_counts.
WITH s AS MATERIALIZED (SELECT * FROM casq.registry_summary)
SELECT 'casq_registry_resources', ARRAY[s.kind, s.status], s.count::float8 FROM s
UNION ALL
SELECT 'casq_registry_bytes', ARRAY[s.kind, s.status], coalesce(s.bytes, 0)::float8 FROM s
UNION ALL
SELECT 'casq_registry_oldest_seconds', ARRAY[k.kind],
       greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(s.oldest)), 0))::float8
FROM casq.kinds AS k LEFT JOIN s ON s.kind = k.kind
GROUP BY k.kind

-- name: Queue
-- What River has to do, by queue and state: at most $1 jobs of each are counted. Which queues
-- there are is found by one step per queue along the index by which jobs are fetched
-- (state, queue, priority, scheduled_at); those of kinds are named when they are empty, too.
-- The oldest of those that wait is the first of one of River's four priorities. How long one
-- runs is in no index: it is read from rows, of at most $1.
WITH RECURSIVE states AS (
    SELECT unnest('{available, running, retryable, scheduled}'::river.river_job_state[]) AS state
), step AS (
    SELECT s.state, (SELECT j.queue FROM river.river_job AS j WHERE j.state = s.state ORDER BY j.queue LIMIT 1) AS queue
    FROM states AS s
    UNION ALL
    SELECT s.state, (SELECT j.queue FROM river.river_job AS j WHERE j.state = s.state AND j.queue > s.queue ORDER BY j.queue LIMIT 1)
    FROM step AS s WHERE s.queue IS NOT NULL
), parts AS MATERIALIZED (
    SELECT s.state, s.queue FROM step AS s WHERE s.queue IS NOT NULL
    UNION
    SELECT s.state, k.queue FROM states AS s CROSS JOIN casq.kinds AS k
), found AS MATERIALIZED (
    SELECT p.queue, p.state::text AS state, jobs.count, greatest(0, extract(epoch FROM clock_timestamp() - oldest.at)) AS age
    FROM parts AS p
    CROSS JOIN LATERAL (
        SELECT count(*) AS count
        FROM (SELECT FROM river.river_job AS j WHERE j.state = p.state AND j.queue = p.queue LIMIT $1) AS few
    ) AS jobs
    CROSS JOIN LATERAL (
        SELECT CASE WHEN p.state = 'running' THEN (
            SELECT min(few.attempted_at)
            FROM (SELECT j.attempted_at FROM river.river_job AS j WHERE j.state = p.state AND j.queue = p.queue LIMIT $1) AS few
        ) ELSE (
            SELECT min(first.scheduled_at)
            FROM generate_series(1, 4) AS of (priority)
            CROSS JOIN LATERAL (
                SELECT j.scheduled_at FROM river.river_job AS j
                WHERE j.state = p.state AND j.queue = p.queue AND j.priority = of.priority
                ORDER BY j.scheduled_at LIMIT 1
            ) AS first
        ) END AS at
    ) AS oldest
)
SELECT 'casq_queue_jobs', ARRAY[f.queue, f.state], f.count::float8 FROM found AS f
UNION ALL
SELECT 'casq_queue_oldest_seconds', ARRAY[f.queue, f.state], coalesce(f.age, 0)::float8 FROM found AS f
UNION ALL
SELECT 'casq_queue_paused', ARRAY[q.queue], (r.paused_at IS NOT NULL)::integer::float8
FROM (SELECT DISTINCT p.queue FROM parts AS p) AS q LEFT JOIN river.river_queue AS r ON r.name = q.queue

-- name: Log
-- Of the log that home has itself. A tick is taken each 10 s in any case where there is
-- something to take ticks for.
SELECT 'casq_tick_age_seconds', ARRAY[]::text[],
       greatest(0, extract(epoch FROM clock_timestamp() - (SELECT t.taken_at FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1)))::float8
WHERE EXISTS (SELECT FROM casq.ticks) AND casq.needs_ticks()
UNION ALL
SELECT 'casq_log_events_total', ARRAY[]::text[], casq.last_event_id()::float8
UNION ALL
SELECT 'casq_followers', ARRAY[]::text[], count(*)::float8 FROM casq.followers
UNION ALL
SELECT 'casq_follower_oldest_report_seconds', ARRAY[]::text[],
       greatest(0, extract(epoch FROM clock_timestamp() - min(f.reported_at)))::float8
FROM casq.followers AS f HAVING count(*) > 0

-- name: Cursors
-- A holder that has nothing to do writes nothing: its session, while it is there, is its sign
-- of life. Of one of another role nothing is seen but that it is there.
WITH c AS MATERIALIZED (
    SELECT c.name, s.pid IS NOT NULL AS held, casq.log_age(c) AS lag,
           CASE WHEN s.pid IS NOT NULL AND s.state_change IS NULL THEN clock_timestamp()
                ELSE greatest(c.moved_at, c.beat_at, s.state_change) END AS beat
    FROM casq.cursors AS c
    LEFT JOIN LATERAL (
        SELECT a.pid, a.state_change FROM pg_stat_get_activity(coalesce(c.backend_pid, 0)) AS a
        WHERE a.backend_start = c.backend_start OR a.backend_start IS NULL
    ) AS s ON true
)
SELECT 'casq_cursor_beat_age_seconds', ARRAY[c.name], greatest(0, extract(epoch FROM clock_timestamp() - c.beat))::float8 FROM c
UNION ALL
SELECT 'casq_cursor_held', ARRAY[c.name], c.held::integer::float8 FROM c
UNION ALL
SELECT 'casq_cursor_lag_seconds', ARRAY[c.name], c.lag FROM c

-- name: Lag
-- A stage that is not known has no value.
WITH l AS MATERIALIZED (SELECT * FROM casq.replication_lags)
SELECT 'casq_replication_lag_seconds', ARRAY[l.kind], l.lag_seconds FROM l WHERE l.lag_seconds IS NOT NULL
UNION ALL
SELECT 'casq_replication_stage_lag_seconds', ARRAY[l.kind, x.stage], x.lag
FROM l
CROSS JOIN LATERAL (VALUES
    ('to_standby', l.to_standby_seconds), ('to_registry', l.to_registry_seconds), ('queue', l.queue_seconds), ('copy', l.copy_seconds)
) AS x (stage, lag)
WHERE x.lag IS NOT NULL

-- name: Health
WITH h AS MATERIALIZED (SELECT * FROM casq.health())
SELECT 'casq_problems', ARRAY[x.severity], (SELECT count(*) FROM h WHERE h.severity = x.severity)::float8
FROM (VALUES ('critical'), ('warning'), ('notice')) AS x (severity)

-- name: Counters
-- Of the shard that is furthest behind: its oldest event that is not counted, among the
-- next $1.
SELECT 'casq_counters_lag_seconds', ARRAY[]::text[],
       greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(e.occurred_at)), 0))::float8
FROM (SELECT t.snapshot FROM casq.counter_shards AS s JOIN casq.ticks AS t ON t.id = s.tick ORDER BY s.tick LIMIT 1) AS last
LEFT JOIN LATERAL (
    SELECT e.occurred_at
    FROM (SELECT * FROM casq.events AS e WHERE e.xid >= pg_snapshot_xmax(last.snapshot) ORDER BY e.xid, e.id LIMIT $1) AS e
    WHERE e.scope_id IS NOT NULL
    LIMIT 1
) AS e ON true
HAVING count(last.snapshot) > 0
UNION ALL
SELECT 'casq_counters_shards', ARRAY[]::text[], count(*)::float8 FROM casq.counter_shards
UNION ALL
SELECT 'casq_recounts_open', ARRAY[k.kind], count(s.id)::float8
FROM casq.counter_kinds AS k LEFT JOIN casq.scans AS s ON s.kind = k.kind AND s.finished_at IS NULL
GROUP BY k.kind
UNION ALL
SELECT 'casq_recount_scanned_rows', ARRAY[k.kind], coalesce(sum(s.scanned_rows), 0)::float8
FROM casq.counter_kinds AS k LEFT JOIN casq.scans AS s ON s.kind = k.kind AND s.finished_at IS NULL
GROUP BY k.kind
UNION ALL
SELECT 'casq_recount_oldest_seconds', ARRAY[k.kind],
       greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(s.requested_at)), 0))::float8
FROM casq.counter_kinds AS k LEFT JOIN casq.scans AS s ON s.kind = k.kind AND s.finished_at IS NULL
GROUP BY k.kind
UNION ALL
SELECT 'casq_counters_exact', ARRAY[k.kind], k.complete::integer::float8 FROM casq.counter_kinds AS k

-- name: Reconcile
-- What the newest run of each kind has found that is over.
WITH newest AS MATERIALIZED (
    SELECT c.*, c.finished_at AS over
    FROM casq.kinds AS k
    CROSS JOIN LATERAL (
        SELECT c.*, r.finished_at
        FROM casq.reconcile_runs AS r JOIN casq.reconcile_counts AS c ON c.run = r.id AND c.kind = k.kind
        WHERE r.finished_at IS NOT NULL
        ORDER BY r.id DESC LIMIT 1
    ) AS c
)
SELECT 'casq_reconcile_resources', ARRAY[n.kind, x.result], x.count::float8
FROM newest AS n
CROSS JOIN LATERAL (VALUES
    ('examined', n.examined), ('created', n.created), ('adopted', n.adopted), ('changed', n.changed), ('removed', n.removed),
    ('requeued', n.requeued), ('late', n.late), ('held_back', n.held_back), ('orphans', n.orphans)
) AS x (result, count)
UNION ALL
SELECT 'casq_reconcile_age_seconds', ARRAY[n.kind], greatest(0, extract(epoch FROM clock_timestamp() - n.over))::float8 FROM newest AS n
UNION ALL
SELECT 'casq_reconciles_open', ARRAY[]::text[], count(*)::float8 FROM casq.reconcile_runs AS r WHERE r.finished_at IS NULL

-- name: Dead
-- Events that were dead-lettered and not replayed: at most $1 are counted. An event may name
-- any kind: of one that is not defined it is told as other.
WITH open AS MATERIALIZED (
    SELECT f.kind FROM casq.event_failures AS f WHERE f.replayed_at IS NULL LIMIT $1
)
SELECT 'casq_dead_letters', ARRAY[k.kind], (SELECT count(*) FROM open AS o WHERE o.kind = k.kind)::float8 FROM casq.kinds AS k
UNION ALL
SELECT 'casq_dead_letters', ARRAY['other'], count(*)::float8
FROM open AS o WHERE NOT EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = o.kind)

-- name: Views
-- Rows of tracked views that are not followed, and those that wait: at most $1 are counted.
WITH open AS MATERIALIZED (
    SELECT i.kind, i.reason IS NOT NULL AS failed FROM casq.view_ids AS i LIMIT $1
)
SELECT 'casq_view_followed', ARRAY[v.kind], (v.error IS NULL AND v.filled_at IS NOT NULL)::integer::float8 FROM casq.views AS v
UNION ALL
SELECT 'casq_view_rows_failed', ARRAY[v.kind], (SELECT count(*) FROM open AS o WHERE o.kind = v.kind AND o.failed)::float8 FROM casq.views AS v
UNION ALL
SELECT 'casq_view_rows_waiting', ARRAY[v.kind], (SELECT count(*) FROM open AS o WHERE o.kind = v.kind AND NOT o.failed)::float8 FROM casq.views AS v

-- name: Processes
SELECT 'casq_workers', ARRAY[]::text[], count(*)::float8 FROM casq.live_workers
UNION ALL
SELECT 'casq_processes', ARRAY[]::text[], count(*)::float8 FROM casq.processes AS p WHERE p.dead_at IS NULL
UNION ALL
SELECT 'casq_process_oldest_beat_seconds', ARRAY[]::text[],
       greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(p.beat_at)), 0))::float8
FROM casq.processes AS p WHERE p.dead_at IS NULL

-- name: Builds
-- At most $1 are counted of each state.
WITH handed AS MATERIALIZED (
    SELECT b.assigned_at, b.started_at FROM casq.builds AS b WHERE b.status IN ('running', 'canceling') LIMIT $1
)
SELECT 'casq_builds', ARRAY['waiting'], count(*)::float8 FROM (SELECT FROM casq.builds AS b WHERE b.in_queue LIMIT $1) AS few
UNION ALL
SELECT 'casq_builds', ARRAY['held'], count(*)::float8 FROM (SELECT FROM casq.builds AS b WHERE b.held LIMIT $1) AS few
UNION ALL
SELECT 'casq_builds', ARRAY['handed_out'], count(*) FILTER (WHERE h.started_at IS NULL)::float8 FROM handed AS h
UNION ALL
SELECT 'casq_builds', ARRAY['running'], count(h.started_at)::float8 FROM handed AS h
UNION ALL
SELECT 'casq_build_oldest_seconds', ARRAY['waiting'], greatest(0, coalesce(extract(epoch FROM clock_timestamp() - (
    SELECT b.pending_at FROM casq.builds AS b WHERE b.in_queue ORDER BY b.queued LIMIT 1)), 0))::float8
UNION ALL
SELECT 'casq_build_oldest_seconds', ARRAY['handed_out'],
       greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(h.assigned_at) FILTER (WHERE h.started_at IS NULL)), 0))::float8
FROM handed AS h
UNION ALL
SELECT 'casq_runners', ARRAY[]::text[], count(*)::float8 FROM (SELECT FROM casq.runners AS r WHERE NOT r.paused LIMIT $1) AS few

-- name: Postgres
-- Of the server itself, as far as an ordinary role sees it: when a transaction began that
-- has written nothing it sees of its own sessions, and with pg_read_all_stats of all; how old
-- a snapshot is, of all.
SELECT 'casq_postgres_oldest_transaction_seconds', ARRAY[]::text[],
       greatest(0, coalesce(extract(epoch FROM clock_timestamp() - casq.oldest_transaction()), 0))::float8
UNION ALL
SELECT 'casq_postgres_oldest_snapshot_transactions', ARRAY[]::text[], coalesce(max(age(a.backend_xmin)), 0)::float8
FROM pg_stat_activity AS a WHERE a.backend_xmin IS NOT NULL
UNION ALL
SELECT 'casq_postgres_all_visible', ARRAY[]::text[], pg_has_role('pg_read_all_stats', 'USAGE')::integer::float8
UNION ALL
SELECT 'casq_postgres_slot_retained_bytes', ARRAY[x.active::text],
       coalesce(max(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn)), 0)::float8
FROM (VALUES (true), (false)) AS x (active)
LEFT JOIN pg_replication_slots AS s ON s.active = x.active
GROUP BY x.active
UNION ALL
SELECT 'casq_postgres_dead_rows', ARRAY[t.relname], t.n_dead_tup::float8
FROM pg_stat_user_tables AS t
WHERE (t.schemaname, t.relname) IN (('river', 'river_job'), ('casq', 'registry'), ('casq', 'events'), ('casq', 'counters'), ('casq', 'builds'))
UNION ALL
SELECT 'casq_postgres_rows', ARRAY[t.relname], t.n_live_tup::float8
FROM pg_stat_user_tables AS t
WHERE (t.schemaname, t.relname) IN (('river', 'river_job'), ('casq', 'registry'), ('casq', 'events'), ('casq', 'counters'), ('casq', 'builds'))
