-- At most $1 jobs that the database's clock, which has gone back, would not let
-- start for long. River itself never makes a job available more than 5 s ahead of
-- its time. A job that waits for its retry, and was attempted in what is now the
-- future, waits for as long as it was to wait then.
WITH ahead AS (
    SELECT j.id,
           CASE j.state WHEN 'available' THEN now()
                ELSE now() + (j.scheduled_at - j.attempted_at) END AS scheduled_at
    FROM river.river_job AS j
    WHERE j.state = 'available' AND j.scheduled_at > now() + interval '10 s'
       OR j.state IN ('retryable', 'scheduled') AND j.attempted_at > now() + interval '1 s'
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE river.river_job AS j
SET scheduled_at = ahead.scheduled_at, attempted_at = least(j.attempted_at, now())
FROM ahead
WHERE j.id = ahead.id
