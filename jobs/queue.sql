-- name: Orphans
-- At most $1 of the jobs that River believes to be running in a process that is
-- dead or has no row. attempted_by names the process of each attempt, the
-- present one last. A process has its row before it fetches. In no order: by id,
-- the planner would walk through all jobs that ever were.
SELECT j.id, j.args ->> 'kind', j.args ->> 'resource_id', (j.args ->> 'version')::bigint
FROM river.river_job AS j
WHERE j.state = 'running'
  AND j.kind IN ('casq_sync', 'casq_remove')
  AND NOT EXISTS (
      SELECT FROM casq.processes AS p
      WHERE p.id::text = j.attempted_by[array_upper(j.attempted_by, 1)] AND p.dead_at IS NULL
  )
  AND NOT j.metadata ? 'cancel_attempted_at'
LIMIT $1

-- name: OrphanChecks
-- As Orphans, verifications and requests of operators. Locked: of several processes that
-- ask at once, one hands each on.
SELECT j.id, j.kind, j.args
FROM river.river_job AS j
WHERE j.state = 'running'
  AND j.kind IN ('casq_verify', 'casq_request')
  AND NOT EXISTS (
      SELECT FROM casq.processes AS p
      WHERE p.id::text = j.attempted_by[array_upper(j.attempted_by, 1)] AND p.dead_at IS NULL
  )
  AND NOT j.metadata ? 'cancel_attempted_at'
LIMIT $1
FOR UPDATE OF j SKIP LOCKED

-- name: RequestHasJob
-- Names the job ($2) of a request ($1), whose job has been $3; NULL: it has had none.
UPDATE casq.audit AS a SET job = j.id, job_args = j.args
FROM river.river_job AS j
WHERE a.id = $1 AND j.id = $2 AND a.job IS NOT DISTINCT FROM $3

-- name: IsOfRequest
-- Whether a request ($1) has this job ($2), with these arguments ($3).
SELECT EXISTS (SELECT FROM casq.audit AS a WHERE a.id = $1 AND a.job = $2 AND a.job_args = $3::jsonb)

-- name: Abandon
-- Ends jobs ($1) that nobody works on. Whoever comes late to the end of one finds it
-- ended: River writes an end only to what is running. In the order of their ids, as
-- several may do so at once.
UPDATE river.river_job AS j
SET state = 'cancelled', finalized_at = clock_timestamp(),
    metadata = j.metadata || jsonb_build_object('cancel_attempted_at', clock_timestamp())
FROM (
    SELECT q.id FROM river.river_job AS q
    WHERE q.id = ANY ($1::bigint[]) AND q.finalized_at IS NULL
    ORDER BY q.id FOR UPDATE
) AS mine
WHERE j.id = mine.id

-- name: Ahead
-- At most $1 jobs that the database's clock, which has gone back, would not let
-- start for long. River itself never makes a job available more than 5 s ahead of
-- its time. A job that waits for its retry, and was attempted in what is now the
-- future, waits for as long as it was to wait then.
WITH ahead AS (
    SELECT j.id,
           CASE j.state WHEN 'available' THEN now()
                ELSE now() + coalesce(j.scheduled_at - j.attempted_at, '0') END AS scheduled_at
    FROM river.river_job AS j
    WHERE j.state = 'available' AND j.scheduled_at > now() + interval '10 s'
       OR j.state IN ('retryable', 'scheduled') AND j.attempted_at > now() + interval '1 s'
       -- What waits for its resource to be quiet waits a minute at most.
       OR j.state = 'scheduled' AND j.metadata ? 'quiet_since' AND j.scheduled_at > now() + interval '70 s'
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE river.river_job AS j
SET scheduled_at = ahead.scheduled_at, attempted_at = least(j.attempted_at, now())
FROM ahead
WHERE j.id = ahead.id

-- name: Mine
-- The jobs that River believes to be running in the process $1, and whether somebody
-- has cancelled each, or written it off. In no order, as Orphans.
SELECT j.id, j.kind, j.args, j.metadata ? 'cancel_attempted_at'
FROM river.river_job AS j
WHERE j.state = 'running'
  AND j.attempted_by[array_upper(j.attempted_by, 1)] = $1

-- name: Queues
-- River's queues, and how many of their jobs are in which state, each counted up
-- to $1: there may be millions. Counting walks the index that fetching uses. What
-- River believes to be running in a process that is dead, or unknown, is counted
-- apart: it has been handed on, or soon is.
SELECT q.name, q.paused_at, q.updated_at, waiting.n, running.alive, running.dead, retrying.n
FROM river.river_queue AS q
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state = 'available' AND j.queue = q.name LIMIT $1) AS j) AS waiting
CROSS JOIN LATERAL (SELECT count(p.id) AS alive, count(*) - count(p.id) AS dead FROM (
    SELECT j.attempted_by[array_upper(j.attempted_by, 1)] AS process
    FROM river.river_job AS j WHERE j.state = 'running' AND j.queue = q.name LIMIT $1) AS j
    LEFT JOIN casq.processes AS p ON p.id::text = j.process AND p.dead_at IS NULL) AS running
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state IN ('retryable', 'scheduled') AND j.queue = q.name LIMIT $1) AS j) AS retrying
ORDER BY q.name

-- name: KnownQueues
-- The queues that workers serve, or will: casq's own ($1), those of kinds, those of
-- verifications of their transfers ($2 begins their names), and what workers say or have said
-- that they serve.
SELECT q.name FROM (
    SELECT unnest($1::text[]) AS name
    UNION SELECT k.queue FROM casq.kinds AS k
    UNION SELECT $2 || k.transfer FROM casq.kinds AS k
    UNION SELECT unnest(w.queues) FROM casq.live_workers AS w
    UNION SELECT r.name FROM river.river_queue AS r
) AS q
ORDER BY q.name COLLATE "C"

-- name: MakeQueues
-- Makes the rows of queues ($1) that have none.
INSERT INTO river.river_queue (name, updated_at)
SELECT unnest($1::text[]), now()
ON CONFLICT (name) DO NOTHING

-- name: Resource
-- The jobs of a resource ($1, $2) at a version ($3) that have not ended, and the
-- one that has it ($4), whatever its version is.
SELECT j.id
FROM river.river_job AS j
WHERE ((j.args ->> 'resource_id') COLLATE "C" = $2 AND j.args ->> 'kind' = $1 AND (j.args ->> 'version')::bigint = $3
       OR j.id = $4)
  AND j.finalized_at IS NULL
ORDER BY j.id
