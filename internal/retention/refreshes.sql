-- Certificates of recounts that ended long ago ($1), at most $2. They go before
-- their scans: one scan may have millions. Parts stay as long as the recount does.
DELETE FROM casq.refreshes WHERE id IN (
    SELECT r.id FROM casq.scans AS s
    JOIN casq.refreshes AS r ON r.scan = s.id
    WHERE s.finished_at < clock_timestamp() - $1::interval
      AND NOT EXISTS (SELECT FROM casq.scans AS w WHERE w.id = s.part_of AND w.finished_at IS NULL)
    LIMIT $2
    FOR UPDATE OF r SKIP LOCKED
)
