-- Before when must a row have been queued (in queue $1, margin $2) to have no job
-- there any more? Jobs are fetched oldest first: what is older than the oldest one
-- that waits was fetched, or lost. River numbers priorities from 1 to 4; of each
-- this is the first entry of its index for fetching. Likewise for queue $3.
SELECT least(clock_timestamp(), min(oldest.scheduled_at) FILTER (WHERE q.n = 1)) - $2::interval,
       least(clock_timestamp(), min(oldest.scheduled_at) FILTER (WHERE q.n = 2)) - $2::interval
FROM (VALUES (1, $1::text), (2, $3::text)) AS q (n, queue)
CROSS JOIN generate_series(1, 4) AS p (priority)
LEFT JOIN LATERAL (
    SELECT j.scheduled_at FROM river.river_job AS j
    WHERE j.state = 'available' AND j.queue = q.queue AND j.priority = p.priority
    ORDER BY j.scheduled_at, j.id LIMIT 1
) AS oldest ON true
