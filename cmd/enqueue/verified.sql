-- What became of the verifications of a kind ($1) that were queued after the job
-- $2 and not after $3: those that have not ended, those that found what they
-- should, those whose thing has another version by now, and those that could not
-- be carried out, of which the first $4 are named.
WITH job AS MATERIALIZED (
    SELECT j.args ->> 'resource_id' AS resource_id, (j.args ->> 'version')::bigint AS version,
           CASE WHEN j.state = 'completed' THEN 'done'
                WHEN j.state IN ('cancelled', 'discarded') THEN 'failed' ELSE 'open' END AS state,
           coalesce(j.errors[array_upper(j.errors, 1)] ->> 'error', 'cancelled') AS error
    FROM river.river_job AS j
    WHERE j.id > $2 AND j.id <= $3 AND j.kind = 'casq_verify' AND j.args ->> 'kind' = $1
)
SELECT count(*) FILTER (WHERE job.state = 'open') AS open,
       count(*) FILTER (WHERE job.state = 'done' AND r.version = job.version) AS same,
       count(*) FILTER (WHERE job.state = 'done' AND r.version IS DISTINCT FROM job.version) AS again,
       count(*) FILTER (WHERE job.state = 'failed') AS failed,
       coalesce((SELECT json_agg(f) FROM (
           SELECT f.resource_id, f.version, f.error FROM job AS f WHERE f.state = 'failed'
           ORDER BY f.resource_id LIMIT $4) AS f), '[]') AS named
FROM job
LEFT JOIN casq.registry AS r ON r.kind = $1 AND r.resource_id = job.resource_id
