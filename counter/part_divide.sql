-- Hands every second open recount of the run $2 of the scan $1 to a new scan ($3).
WITH open AS (
    SELECT r.id, row_number() OVER (ORDER BY r.scope_id) AS n
    FROM casq.scans AS s
    JOIN casq.refreshes AS r ON r.scan = s.id AND r.finished_at IS NULL
    WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NULL
)
UPDATE casq.refreshes AS r SET scan = $3, state = 'created'
FROM open WHERE r.id = open.id AND open.n % 2 = 0
