-- Jobs that River believes to be running in the processes $1. attempted_by names
-- the process of each attempt, the present one last.
SELECT id, args ->> 'kind', args ->> 'resource_id', (args ->> 'version')::bigint
FROM river.river_job
WHERE state = 'running'
  AND kind IN ('casq_sync', 'casq_remove')
  AND attempted_by[array_upper(attempted_by, 1)] = ANY ($1::text[])
  AND NOT metadata ? 'cancel_attempted_at'
ORDER BY id
LIMIT $2
