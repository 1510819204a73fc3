-- How many counters are not what the table says.
SELECT count(*)
FROM (SELECT project::text AS scope_id, sum(size) AS size, count(*) AS items FROM artifacts GROUP BY project) AS t
FULL JOIN (SELECT * FROM casq.statistics WHERE kind = 'artifact') AS s USING (scope_id)
WHERE (t.size, t.items) IS DISTINCT FROM (s.size, s.items)
