-- The jobs that River believes to be running in the process $1. In no order, as
-- orphans.sql. Those that were written off already are not among them.
SELECT j.id, j.kind, j.args
FROM river.river_job AS j
WHERE j.state = 'running'
  AND j.attempted_by[array_upper(j.attempted_by, 1)] = $1
  AND NOT j.metadata ? 'cancel_attempted_at'
