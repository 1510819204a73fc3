-- A job of the queue $1 that nobody has begun.
SELECT id FROM river.river_job
WHERE state = 'available' AND queue = $1
ORDER BY priority, scheduled_at, id
LIMIT 1
