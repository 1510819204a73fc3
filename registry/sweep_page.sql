-- A page of the registry beyond ($1, $2), $3 rows at most: its last key, and
-- the rows that were claimed by a process which is not alive. There is no index
-- on claims: it would make every claim and every commit write to two indexes
-- more, and a process dies rarely.
WITH page AS MATERIALIZED (
    SELECT r.kind, r.resource_id,
           r.claim IS NOT NULL
           AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL) AS left_behind
    FROM casq.registry AS r
    WHERE (r.kind, r.resource_id) > ($1, $2)
    ORDER BY r.kind, r.resource_id
    LIMIT $3
)
SELECT kind, resource_id, left_behind
FROM page
WHERE left_behind
   OR (kind, resource_id) = (SELECT kind, resource_id FROM page ORDER BY kind DESC, resource_id DESC LIMIT 1)
ORDER BY kind, resource_id
