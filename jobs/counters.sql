-- name: Waiting
-- A job of the queue $1 that nobody has begun.
SELECT id FROM river.river_job
WHERE state = 'available' AND queue = $1
ORDER BY priority, scheduled_at, id
LIMIT 1

-- name: Orphans
-- At most $2 running jobs of the kinds $1 in processes that are dead or have no row.
SELECT j.id, j.kind, j.args
FROM river.river_job AS j
WHERE j.state = 'running'
  AND j.kind = ANY ($1)
  AND NOT EXISTS (
      SELECT FROM casq.processes AS p
      WHERE p.id::text = j.attempted_by[array_upper(j.attempted_by, 1)] AND p.dead_at IS NULL
  )
  AND NOT j.metadata ? 'cancel_attempted_at'
LIMIT $2

-- name: Turn
-- At most $2 of the oldest recounts that have waited for their turn, with the jobs
-- (kind $1) that will look again. Those are left out whose turn it cannot be, behind
-- an earlier one of everything, or as one: see scan_busy.sql of the counters.
SELECT s.id, j.id
FROM river.river_job AS j
JOIN casq.scans AS s ON s.id = (j.args ->> 'scan')::bigint
WHERE j.kind = $1 AND j.queue = $1 AND j.state = 'available' AND j.metadata ? 'snoozes'
  AND s.finished_at IS NULL AND s.token IS NULL
  AND NOT EXISTS (
      SELECT FROM casq.scans AS o
      WHERE o.finished_at IS NULL AND o.kind = s.kind AND coalesce(o.part_of, o.id) < s.id AND (o.whole OR s.whole)
  )
ORDER BY s.id
LIMIT $2

-- name: Lost
-- At most $2 recounts that are under way and have no job of the kinds $1 to come: its
-- last attempt could not even say that it failed, somebody has ended it, or home
-- failed over and has lost what the job went by. A job that was written off does not
-- count, whatever River calls it. One in parts has the job of its part, of which there
-- is always one; it is begun anew where that was lost. token: it waits for the swap.
-- Last, whether it never had a job: casq.ask_recount leaves that to us.
SELECT s.id, CASE WHEN s.scanned_at IS NOT NULL THEN s.token END, s.job IS NULL
FROM casq.scans AS s
WHERE s.finished_at IS NULL
  AND NOT (s.in_parts AND EXISTS (SELECT FROM casq.scans AS p WHERE p.part_of = s.id AND p.finished_at IS NULL))
  AND s.id NOT IN (
      SELECT (j.args ->> 'scan')::bigint FROM river.river_job AS j
      WHERE j.kind = ANY ($1) AND j.queue = ANY ($1)
        AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
        AND NOT (j.state = 'running' AND j.metadata ? 'cancel_attempted_at')
        AND j.args ->> 'scan' IS NOT NULL
  )
ORDER BY s.id
LIMIT $2
