-- name: Turn
-- At most $2 of the oldest recounts that have waited for their turn, with the jobs
-- (kind $1) that will ask again. Those are left out whose turn it cannot be, behind
-- an earlier one of everything, or as one: see Busy in scan.sql.
SELECT s.id, j.id
FROM river.river_job AS j
JOIN casq.scans AS s ON s.id = (j.args ->> 'scan')::bigint
WHERE j.kind = $1 AND j.queue = $1 AND j.state = 'available' AND j.metadata ? 'snoozes'
  AND s.finished_at IS NULL AND s.token IS NULL
  AND NOT EXISTS (
      SELECT FROM casq.scans AS o
      WHERE o.finished_at IS NULL AND o.kind = s.kind AND coalesce(o.part_of, o.id) < s.id AND (o.all_scopes OR s.all_scopes)
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

-- name: Release
-- Frees the scan $1 of the process $2, which its job $3 had taken.
UPDATE casq.scans SET token = NULL, process = NULL
WHERE id = $1 AND process = $2 AND job = $3 AND scanned_at IS NULL AND finished_at IS NULL
