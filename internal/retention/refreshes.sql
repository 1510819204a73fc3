-- Certificates of recounts that ended long ago ($1), at most $2. They go before
-- their scans: one scan may have millions.
DELETE FROM casq.refreshes WHERE id IN (
    SELECT r.id FROM casq.scans AS s
    JOIN casq.refreshes AS r ON r.scan = s.id
    WHERE s.finished_at < clock_timestamp() - $1::interval
    LIMIT $2
    FOR UPDATE OF r SKIP LOCKED
)
