-- How many counters are not what the table says, and how many recounts are not
-- over.
SELECT (SELECT count(*) FROM casq.scans WHERE finished_at IS NULL)
     + (SELECT count(*)
        FROM (SELECT project_id::text AS scope_id, sum(size) AS size, count(*) AS items FROM artifacts GROUP BY 1) AS t
        FULL JOIN (SELECT * FROM casq.statistics WHERE kind = 'artifact' AND (size, items) <> (0, 0)) AS s USING (scope_id)
        WHERE (t.size, t.items) IS DISTINCT FROM (s.size, s.items))
