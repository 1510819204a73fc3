-- name: Rewrite
-- Has jobs that wait for their resources to be quiet carry newer versions ($1 to $3:
-- kind, key, version; $4 for how long a resource has to be quiet; $5 River's priority),
-- and wait longer, but no longer than $6 times that since the first change. Returns the
-- resources whose job that is done for. The rows of the resources are locked.
--
-- A job that another session has locked is being fetched, or made available. It is left
-- to find itself superseded.
WITH mine AS MATERIALIZED (
    SELECT w.kind, w.key, w.version, w.quiet, w.priority, j.id
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::interval[], $5::smallint[]) AS w (kind, key, version, quiet, priority)
    CROSS JOIN LATERAL (
        SELECT t.id FROM river.river_job AS t
        WHERE t.finalized_at IS NULL
          AND (t.args ->> 'resource_id') COLLATE "C" = w.key AND t.args ->> 'kind' = w.kind
          AND t.kind = 'casq_sync' AND t.state IN ('available', 'scheduled') AND t.attempt = 0 AND t.metadata ? 'quiet_since'
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS j
), due AS MATERIALIZED (
    SELECT m.*, s.since, least(now.at + m.quiet, s.since + $6::integer * m.quiet) AS at
    FROM mine AS m
    JOIN river.river_job AS j ON j.id = m.id
    CROSS JOIN (SELECT clock_timestamp() AS at) AS now
    -- One that was attempted, and sleeps, has waited for something else.
    CROSS JOIN LATERAL (SELECT CASE WHEN j.attempted_at IS NULL THEN (j.metadata ->> 'quiet_since')::timestamptz ELSE now.at END AS since) AS s
)
UPDATE river.river_job AS j
SET args = jsonb_set(j.args, '{version}', to_jsonb(d.version)), priority = least(j.priority, d.priority),
    metadata = j.metadata || jsonb_build_object('quiet_since', d.since), scheduled_at = d.at,
    -- River makes what is scheduled available every five seconds.
    state = CASE WHEN d.at < clock_timestamp() + interval '5 s' THEN 'available' ELSE 'scheduled' END::river.river_job_state
FROM due AS d
WHERE j.id = d.id
RETURNING d.kind, d.key

-- name: Delay
-- Has jobs that this transaction has queued ($1 to $3: kind, key, version; $4, $5 as $4
-- and $6 of Rewrite) wait for their resources to be quiet. What another job of a resource
-- has waited for already counts, where no run has begun on it.
WITH mine AS MATERIALIZED (
    SELECT w.quiet, own.id, coalesce((
        SELECT min((t.metadata ->> 'quiet_since')::timestamptz)
        FROM (
            SELECT * FROM river.river_job AS t
            WHERE t.finalized_at IS NULL
              AND (t.args ->> 'resource_id') COLLATE "C" = w.key AND t.args ->> 'kind' = w.kind
            OFFSET 0
        ) AS t
        WHERE t.metadata ? 'quiet_since' AND (t.attempted_at IS NULL OR t.state = 'running')
          AND NOT EXISTS (SELECT FROM casq.registry AS r WHERE r.kind = w.kind AND r.resource_id = w.key AND r.claim_job = t.id)
    ), now.at) AS since, now.at
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::interval[]) AS w (kind, key, version, quiet)
    CROSS JOIN LATERAL (
        SELECT max(t.id) AS id FROM (
            SELECT * FROM river.river_job AS t
            WHERE t.finalized_at IS NULL
              AND (t.args ->> 'resource_id') COLLATE "C" = w.key AND t.args ->> 'kind' = w.kind
            OFFSET 0
        ) AS t
        WHERE t.kind = 'casq_sync' AND (t.args ->> 'version')::bigint = w.version
    ) AS own
    CROSS JOIN (SELECT clock_timestamp() AS at) AS now
), due AS (
    SELECT m.id, m.since, least(m.at + m.quiet, m.since + $5::integer * m.quiet) AS at FROM mine AS m
)
UPDATE river.river_job AS j
SET metadata = j.metadata || jsonb_build_object('quiet_since', d.since), scheduled_at = d.at,
    state = CASE WHEN d.at < clock_timestamp() + interval '5 s' THEN 'available' ELSE 'scheduled' END::river.river_job_state
FROM due AS d
WHERE j.id = d.id
