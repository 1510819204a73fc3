-- Those of some resources (kinds $1, keys $2) that have a prompt job which has not
-- ended. OFFSET 0: a resource's jobs are found by their index, and never by a join
-- with all that wait.
SELECT w.kind, w.key
FROM unnest($1::text[], $2::text[]) AS w (kind, key)
WHERE EXISTS (
    SELECT FROM (
        SELECT * FROM river.river_job AS j
        WHERE j.finalized_at IS NULL
          AND (j.args ->> 'resource_id') COLLATE "C" = w.key AND j.args ->> 'kind' = w.kind
        OFFSET 0
    ) AS j
    WHERE j.kind IN ('casq_sync', 'casq_remove') AND j.priority = 1
)
