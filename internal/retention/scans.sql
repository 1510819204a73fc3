-- Scans of recounts that ended long ago ($1), at most $2, without certificates.
DELETE FROM casq.scans WHERE id IN (
    SELECT s.id FROM casq.scans AS s
    WHERE s.finished_at < clock_timestamp() - $1::interval
      AND NOT EXISTS (SELECT FROM casq.refreshes AS r WHERE r.scan = s.id)
      AND NOT EXISTS (SELECT FROM casq.scans AS w WHERE w.id = s.part_of AND w.finished_at IS NULL)
    ORDER BY s.id LIMIT $2
    FOR UPDATE SKIP LOCKED
)
