-- The run $2 of the scan $1 gives it up for the reason $4, unless it has ended. $3: it
-- has only waited, which is no try.
WITH mine AS (
    UPDATE casq.scans SET token = NULL, process = NULL, tries = CASE WHEN $3 THEN greatest(tries - 1, 0) ELSE tries END
    WHERE id = $1 AND token = $2 AND scanned_at IS NULL
    RETURNING id
)
UPDATE casq.refreshes AS r SET reason = $4
FROM mine
WHERE r.scan = mine.id AND r.state = 'running' AND r.reason IS DISTINCT FROM $4
