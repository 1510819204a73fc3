-- name: MayTick
-- Is home ($1: it is also the source, or has runners) a database to take ticks on?
SELECT NOT pg_is_in_recovery() AND ($1 OR EXISTS (SELECT FROM casq.tracked))

-- name: MayCount
-- Is there something to count in home?
SELECT NOT pg_is_in_recovery() AND EXISTS (SELECT FROM casq.tracked WHERE scope_column IS NOT NULL)

-- name: MayView
-- Is a view of home's tracked?
SELECT casq.follows_views()

-- name: MayReindex
-- May this role rebuild the indexes of River's jobs? An owner may, and since Postgres
-- 17 whoever has MAINTAIN.
SELECT pg_has_role(c.relowner, 'USAGE')
    OR CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END
FROM pg_class AS c WHERE c.oid = 'river.river_job'::regclass

-- name: Neglected
-- Those of the queues $1 whose next job could have been fetched $2 ago or longer; and
-- those whose next job lies further ahead than River ever makes one available (5 s),
-- as it was stamped by a clock that has gone back. The next job is what fetching would
-- take, by the same index.
SELECT q.name, next.scheduled_at > now()
FROM unnest($1::text[]) AS q (name)
CROSS JOIN LATERAL (
    SELECT j.scheduled_at FROM river.river_job AS j
    WHERE j.state = 'available' AND j.queue = q.name
    ORDER BY j.priority, j.scheduled_at, j.id
    LIMIT 1
) AS next
WHERE (next.scheduled_at < now() - $2::interval OR next.scheduled_at > now() + interval '10 s')
  AND NOT EXISTS (SELECT FROM river.river_queue AS r WHERE r.name = q.name AND r.paused_at IS NOT NULL)

-- name: Follower
-- The name under which this site reports to the one that it follows: it stays
-- the same when home fails over.
SELECT system_identifier || '/' || current_database() FROM pg_control_system()

-- name: Beat
-- What this worker ($1) knows. After a failover of home its row may be gone.
INSERT INTO casq.workers AS w (id, host, pid, version, schema_version, roles, waiting, queues,
    source_timeline, source_tick, source_moved, source_answered, source_behind)
VALUES ($1, $2, $3, $4, $5, $6, NULLIF($7, ''), $8, $9, $10, $11, $12, $13)
ON CONFLICT (id) DO UPDATE
SET beat_at = clock_timestamp(), roles = excluded.roles, waiting = excluded.waiting, queues = excluded.queues,
    source_timeline = excluded.source_timeline, source_tick = excluded.source_tick, source_moved = excluded.source_moved,
    source_answered = excluded.source_answered, source_behind = excluded.source_behind

-- name: Sight
-- The newest tick that the source shows, and where in the WAL its host is, if that is a
-- standby: what it has received, NULL if it receives nothing, and what it shows.
SELECT t.nonce, t.timeline, t.id, pg_is_in_recovery(), pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint,
       pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint
FROM (VALUES (1)) AS one
LEFT JOIN LATERAL (SELECT * FROM casq.ticks AS n ORDER BY n.id DESC LIMIT 1) AS t ON true

-- name: HasResource
-- May key $2 be one of kind $1? A kind without a table may have any.
SELECT NOT r.listed OR r.keys IS NOT NULL FROM casq.resources_of($1, ARRAY[$2::text], NULL) AS r
