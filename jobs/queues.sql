-- River's queues, and how many of their jobs are in which state, each counted up
-- to $1: there may be millions. Counting walks the index that fetching uses. What
-- River believes to be running in a process that is dead, or unknown, is counted
-- apart: it has been handed on, or soon is.
SELECT q.name, q.paused_at, q.updated_at, waiting.n, running.alive, running.dead, retrying.n
FROM river.river_queue AS q
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state = 'available' AND j.queue = q.name LIMIT $1) AS j) AS waiting
CROSS JOIN LATERAL (SELECT count(p.id) AS alive, count(*) - count(p.id) AS dead FROM (
    SELECT j.attempted_by[array_upper(j.attempted_by, 1)] AS process
    FROM river.river_job AS j WHERE j.state = 'running' AND j.queue = q.name LIMIT $1) AS j
    LEFT JOIN casq.processes AS p ON p.id::text = j.process AND p.dead_at IS NULL) AS running
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
    SELECT FROM river.river_job AS j WHERE j.state IN ('retryable', 'scheduled') AND j.queue = q.name LIMIT $1) AS j) AS retrying
ORDER BY q.name
