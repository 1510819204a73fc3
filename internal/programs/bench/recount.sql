-- name: Table
-- $1 artifacts, as a store has them: the first fifth belongs to one project, the
-- rest to 999.
CREATE TABLE artifacts AS
SELECT n AS id, project, n % 100000 AS size, 'projects/' || project || '/builds/' || n / 8 || '/artifact-' || n % 8 || '.zip' AS path,
       encode(sha256(int8send(n)), 'hex') AS sha256
FROM (SELECT n, CASE WHEN n <= $1::bigint / 5 THEN 0 ELSE n % 999 + 1 END AS project
      FROM generate_series(1, $1::bigint) AS n) AS a

-- name: Same
-- How many counters are not what the table says.
SELECT count(*)
FROM (SELECT project::text AS scope_id, sum(size) AS size, count(*) AS items FROM artifacts GROUP BY project) AS t
FULL JOIN (SELECT * FROM casq.statistics WHERE kind = 'artifact') AS s USING (scope_id)
WHERE (t.size, t.items) IS DISTINCT FROM (s.size, s.items)
