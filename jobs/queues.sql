-- River's queues, and how many of their jobs are in which state, each counted up
-- to $1: there may be millions. Counting walks the index that fetching uses.
SELECT q.name, q.paused_at, q.updated_at, waiting.n, running.n, retrying.n
FROM river.river_queue AS q
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state = 'available' AND j.queue = q.name LIMIT $1) AS j) AS waiting
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state = 'running' AND j.queue = q.name LIMIT $1) AS j) AS running
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state IN ('retryable', 'scheduled') AND j.queue = q.name LIMIT $1) AS j) AS retrying
ORDER BY q.name
