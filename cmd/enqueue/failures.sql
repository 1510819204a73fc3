-- The open failures, by cursor and kind, and those of a kind ($1) and a key ($2)
-- alone, unless these are NULL.
SELECT f.cursor, f.kind, count(*), min(f.failed_at)
FROM casq.event_failures AS f
WHERE f.replayed_at IS NULL AND ($1::text IS NULL OR f.kind = $1) AND ($2::text IS NULL OR f.resource_id = $2)
GROUP BY f.cursor, f.kind
ORDER BY f.cursor, f.kind
