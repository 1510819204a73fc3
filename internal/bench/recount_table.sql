-- $1 rows; the first fifth belongs to one project, the rest to 999.
CREATE TABLE counted AS
SELECT n AS id, CASE WHEN n <= $1::bigint / 5 THEN 0 ELSE n % 999 + 1 END AS project, n % 100000 AS size
FROM generate_series(1, $1::bigint) AS n
