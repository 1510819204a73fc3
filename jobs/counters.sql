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
