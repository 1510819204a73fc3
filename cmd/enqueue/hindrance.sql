-- What may keep jobs of some queues ($1) from being worked on: whether a process
-- is taken to be alive, the seconds since the newest sign of life of one, and
-- which of the queues are paused, and which were ever served.
SELECT p.alive, p.silent, q.paused, q.known
FROM (
    SELECT count(*) > 0 AS alive, coalesce(extract(epoch FROM clock_timestamp() - max(beat_at)), 0)::float8 AS silent
    FROM casq.processes WHERE dead_at IS NULL
) AS p,
(
    SELECT coalesce(array_agg(name ORDER BY name) FILTER (WHERE paused_at IS NOT NULL), '{}') AS paused,
           coalesce(array_agg(name), '{}') AS known
    FROM river.river_queue WHERE name = ANY ($1::text[])
) AS q
