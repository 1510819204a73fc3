-- A page of the registry beyond (kind $1, key $2), $3 rows at most: the claims
-- that it has, and its last row.
WITH page AS MATERIALIZED (
    SELECT r.kind, r.resource_id, r.claim FROM casq.registry AS r
    WHERE (r.kind, r.resource_id) > ($1, $2)
    ORDER BY r.kind, r.resource_id
    LIMIT $3
)
SELECT last.kind, last.resource_id, ARRAY(SELECT page.claim::text FROM page WHERE page.claim IS NOT NULL)
FROM page AS last
ORDER BY last.kind DESC, last.resource_id DESC
LIMIT 1
