-- name: Read
-- The selections, of one kind ($1; NULL: all).
SELECT s.kind, s.scopes, s.changed_at, s.generation FROM casq.selections AS s
WHERE $1::text IS NULL OR s.kind = $1

-- name: Floor
-- Raises the floor of the kind ($1) to the tick up to which home has read the log
-- (timeline $2, tick $3). Batches that went by the old selection have left no tombstones
-- of what they left out: an older page would bring back what they had seen leave.
INSERT INTO casq.registry_floors AS f (kind, timeline, tick)
VALUES ($1, $2, $3)
ON CONFLICT (kind) DO UPDATE SET timeline = excluded.timeline, tick = excluded.tick
WHERE (f.timeline, f.tick) < (excluded.timeline, excluded.tick)

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
