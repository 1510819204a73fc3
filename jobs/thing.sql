-- The jobs of a thing ($1, $2) at a version ($3) that have not ended, and the
-- one that has it ($4), whatever its version is.
SELECT j.id
FROM river.river_job AS j
WHERE (j.args @> jsonb_build_object('kind', $1::text, 'resource_id', $2::text, 'version', $3::bigint) OR j.id = $4)
  AND j.state IN ('available', 'pending', 'retryable', 'scheduled', 'running')
ORDER BY j.id
