-- The recount in parts $1 begins anew: its table was tracked anew or changed, or the
-- part that was under way is lost. What its parts have done stands by itself.
WITH parts AS (
    UPDATE casq.scans SET part_of = NULL, token = NULL, finished_at = coalesce(finished_at, clock_timestamp())
    WHERE part_of = $1
    RETURNING id
), cancelled AS (
    UPDATE casq.refreshes AS r
    SET state = 'cancelled', finished_at = clock_timestamp(), reason = 'the table is counted from the start again'
    FROM parts WHERE r.scan = parts.id AND r.finished_at IS NULL
)
UPDATE casq.scans SET in_parts = false, token = NULL, process = NULL
WHERE id = $1 AND in_parts AND finished_at IS NULL
RETURNING id
