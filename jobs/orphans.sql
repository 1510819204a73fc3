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
