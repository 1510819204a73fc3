-- Those of the queues $1 whose next job could have been fetched $2 ago or longer.
-- The next job is what fetching would take, by the same index.
SELECT q.name
FROM unnest($1::text[]) AS q (name)
CROSS JOIN LATERAL (
    SELECT j.scheduled_at FROM river.river_job AS j
    WHERE j.state = 'available' AND j.queue = q.name
    ORDER BY j.priority, j.scheduled_at, j.id
    LIMIT 1
) AS next
WHERE next.scheduled_at < now() - $2::interval
  AND NOT EXISTS (SELECT FROM river.river_queue AS r WHERE r.name = q.name AND r.paused_at IS NOT NULL)
