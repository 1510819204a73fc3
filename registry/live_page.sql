-- A page of the rows of a kind ($1) beyond a key ($2), of $3 at most, that want
-- their thing to be there.
SELECT array_agg(page.resource_id)
FROM (
    SELECT r.resource_id FROM casq.registry AS r
    WHERE r.kind = $1 AND r.resource_id > $2 AND r.deleted_at IS NULL
    ORDER BY r.resource_id
    LIMIT $3
) AS page
