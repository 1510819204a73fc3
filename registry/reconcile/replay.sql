-- name: Page
-- A page of the registry's open failures, of a kind ($1; NULL: all) and a key
-- ($2; NULL: all), beyond ($3 to $6), of $7 at most, in the order of the resources.
SELECT f.kind, f.resource_id, f.timeline, f.event_id
FROM casq.event_failures AS f
WHERE f.cursor = 'registry' AND f.replayed_at IS NULL
  AND ($1::text IS NULL OR f.kind = $1) AND ($2::text IS NULL OR f.resource_id = $2)
  AND (f.kind, f.resource_id, f.timeline, f.event_id) > ($3, $4, $5, $6)
ORDER BY f.kind, f.resource_id, f.timeline, f.event_id
LIMIT $7

-- name: Done
-- Closes exactly these failures ($1, $2): one that came while the resources were
-- re-fetched stays open.
UPDATE casq.event_failures AS f
SET replayed_at = clock_timestamp()
FROM unnest($1::integer[], $2::bigint[]) AS w (timeline, event_id)
WHERE f.cursor = 'registry' AND f.timeline = w.timeline AND f.event_id = w.event_id AND f.replayed_at IS NULL
