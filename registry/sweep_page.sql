-- A page of the registry beyond ($1, $2): its last key, and the rows that a
-- dead process ($4) has claimed. There is no index on claims: it would make
-- every claim and every commit write to two indexes more, and a process dies
-- rarely.
WITH page AS MATERIALIZED (
    SELECT kind, resource_id, claim_process
    FROM casq.registry
    WHERE (kind, resource_id) > ($1, $2)
    ORDER BY kind, resource_id
    LIMIT $3
)
SELECT kind, resource_id, coalesce(claim_process = ANY ($4::uuid[]), false)
FROM page
WHERE claim_process = ANY ($4::uuid[])
   OR (kind, resource_id) = (SELECT kind, resource_id FROM page ORDER BY kind DESC, resource_id DESC LIMIT 1)
ORDER BY kind, resource_id
