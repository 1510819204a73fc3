-- Deletes at most $3 rows that an earlier run of a whole scan ($1) has stored.
DELETE FROM casq.refreshes
WHERE id IN (
    SELECT r.id FROM casq.refreshes AS r
    JOIN casq.scans AS s ON s.id = r.scan AND s.token = $2
    WHERE r.scan = $1 AND r.scope_id IS NOT NULL
    LIMIT $3
)
