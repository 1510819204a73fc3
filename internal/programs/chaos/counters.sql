-- What is wrong with the first site's counters.
SELECT format('counter of project %s is %s in %s, the table has %s in %s', scope_id,
              coalesce(s.size, 0), coalesce(s.items, 0), coalesce(t.size, 0), coalesce(t.items, 0))
FROM (SELECT project_id::text AS scope_id, sum(size) AS size, count(*) AS items FROM artifacts GROUP BY 1) AS t
FULL JOIN (SELECT * FROM casq.statistics WHERE kind = 'artifact' AND (size, items) <> (0, 0)) AS s USING (scope_id)
WHERE (t.size, t.items) IS DISTINCT FROM (s.size, s.items)
UNION ALL
SELECT format('recount %s of project %s found a difference of %s in %s', id, scope_id, drift_size, drift_items)
FROM casq.refreshes AS r
WHERE (drift_size <> 0 OR drift_items <> 0)
  -- What is counted anew is not exact, and says so, until its next recount.
  AND NOT EXISTS (
      SELECT FROM counted_anew AS n
      WHERE n.kind = r.kind AND n.at < r.finished_at AND NOT EXISTS (
          SELECT FROM casq.refreshes AS q
          WHERE q.kind = r.kind AND q.scope_id = r.scope_id AND q.state = 'done' AND q.started_at > n.at AND q.finished_at < r.started_at))
UNION ALL
SELECT format('recount %s of project %s is %s: %s', id, coalesce(scope_id, 'all'), state, reason)
FROM casq.refreshes
WHERE state NOT IN ('done', 'cancelled')
