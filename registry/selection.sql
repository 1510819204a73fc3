-- name: Read
-- The selections, of one kind ($1; NULL: all).
SELECT s.kind, s.scopes, s.changed_at, s.generation FROM casq.selections AS s
WHERE $1::text IS NULL OR s.kind = $1

-- name: Floor
-- Raises the floor of the kind ($1) to the tick up to which home has read the log, and
-- returns that; no row when home has read nothing. Batches that went by the old
-- selection have left no tombstones of what they left out: an older page would
-- bring back what they had seen leave.
WITH reached AS (
    -- Inside a step everything up to its end may be applied.
    SELECT c.timeline, greatest(c.tick, c.to_tick) AS tick FROM casq.cursors AS c WHERE c.name = 'registry'
), raised AS (
    INSERT INTO casq.registry_floors AS f (kind, timeline, tick)
    SELECT $1, timeline, tick FROM reached
    ON CONFLICT (kind) DO UPDATE SET timeline = excluded.timeline, tick = excluded.tick
    WHERE (f.timeline, f.tick) < (excluded.timeline, excluded.tick)
)
SELECT timeline, tick FROM reached

-- name: Change
-- Stores a selection ($1 kind, $2 scopes); no row when it is that already.
INSERT INTO casq.selections AS s (kind, scopes)
SELECT $1::text, $2::text[]
WHERE $2::text[] IS NOT NULL OR EXISTS (SELECT FROM casq.selections WHERE kind = $1)
ON CONFLICT (kind) DO UPDATE
SET scopes = excluded.scopes, generation = s.generation + 1, changed_at = clock_timestamp()
WHERE s.scopes IS DISTINCT FROM excluded.scopes

-- name: Open
-- The run that applies the selection of a kind ($1); 0 when it has ended.
SELECT coalesce(max(r.id), 0) FROM casq.reconcile_runs AS r
WHERE r.kind = $1 AND r.reason = 'selected' AND r.finished_at IS NULL

-- name: Enter
-- How many of these resources ($1 kind, $2 keys) have no live row.
SELECT count(*) FROM unnest($2::text[]) AS w (key)
LEFT JOIN LATERAL (
    SELECT true AS live FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key AND r.deleted_at IS NULL LIMIT 1
) AS r ON true
WHERE r.live IS NULL
