-- What each project's counter says and what its rows come to, and whether these
-- are the same.
SELECT scope_id, coalesce(c.size, 0)::text, coalesce(c.items, 0), coalesce(r.size, 0)::text, coalesce(r.items, 0),
       (coalesce(c.size, 0), coalesce(c.items, 0)) = (coalesce(r.size, 0), coalesce(r.items, 0))
FROM (SELECT * FROM casq.statistics WHERE kind = 'artifact') AS c
FULL JOIN (
    SELECT project_id::text COLLATE "C" AS scope_id, sum(size) AS size, count(*) AS items FROM artifacts GROUP BY project_id
) AS r USING (scope_id)
ORDER BY scope_id
