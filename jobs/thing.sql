-- The jobs of a thing ($1, $2) at a version ($3) that have not ended, and the
-- one that has it ($4), whatever its version is.
SELECT j.id
FROM river.river_job AS j
WHERE ((j.args ->> 'resource_id') COLLATE "C" = $2 AND j.args ->> 'kind' = $1 AND (j.args ->> 'version')::bigint = $3
       OR j.id = $4)
  AND j.finalized_at IS NULL
ORDER BY j.id
