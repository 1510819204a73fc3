-- Jobs that wait or run with nobody to work on them any more, or that wait for
-- another try of the version that is wanted. A job that was written off with its
-- process is believed to be running until River looks, an hour later; its work
-- has another job.
SELECT coalesce(j.args ->> 'kind', ''), coalesce(j.args ->> 'resource_id', ''),
       format('%s %s is %s since %s: %s', j.kind, j.id, j.state, coalesce(j.attempted_at, j.created_at), j.args)
FROM river.river_job AS j
LEFT JOIN casq.registry AS r
       ON r.kind = j.args ->> 'kind' AND r.resource_id = j.args ->> 'resource_id' AND r.version = (j.args ->> 'version')::bigint
WHERE j.state IN ('available', 'pending')
   OR j.state = 'running' AND NOT j.metadata ? 'cancel_attempted_at'
   OR j.state IN ('retryable', 'scheduled') AND r.version IS NOT NULL AND r.synced_version IS DISTINCT FROM r.version
ORDER BY j.id
