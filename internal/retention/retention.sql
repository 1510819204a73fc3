-- name: Tombstones
-- The oldest tombstones that may go ($1: how long they are kept), at most $2:
-- the resource was removed, and nobody is at it.
SELECT kind, resource_id FROM casq.registry
WHERE deleted_at < clock_timestamp() - $1::interval
  AND synced_version = version AND claim IS NULL
ORDER BY deleted_at
LIMIT $2

-- name: Floors
-- Without a row there would be nothing that a reconcile's page and a purge could
-- wait for each other with. In order: of two that insert, neither waits for the
-- other.
INSERT INTO casq.registry_floors (kind, timeline, tick)
SELECT DISTINCT kind COLLATE "C", 0, 0 FROM unnest($1::text[]) AS kind ORDER BY 1
ON CONFLICT (kind) DO NOTHING

-- name: Lock
-- Waits for pages of reconciles that are being applied. The floors come before
-- rows of the registry: see casq.registry_floors.
SELECT FROM casq.registry_floors WHERE kind = ANY ($1::text[]) ORDER BY kind FOR UPDATE

-- name: Purge
-- Deletes those of the tombstones ($1 kind, $2 key) that may go still ($3: how
-- long they are kept), and raises the floors of their kinds, which are locked
-- already, to the newest tick that one of them came with. A row that is locked
-- is busy, and not waited for.
WITH free AS (
    SELECT r.kind, r.resource_id
    FROM unnest($1::text[], $2::text[]) AS w (kind, resource_id)
    CROSS JOIN LATERAL (
        SELECT r.kind, r.resource_id FROM casq.registry AS r
        WHERE r.kind = w.kind AND r.resource_id = w.resource_id
          AND r.deleted_at < clock_timestamp() - $3::interval
          AND r.synced_version = r.version AND r.claim IS NULL
        FOR UPDATE SKIP LOCKED
    ) AS r
), gone AS (
    DELETE FROM casq.registry AS r USING free AS l
    WHERE r.kind = l.kind AND r.resource_id = l.resource_id
    RETURNING r.kind, r.timeline, r.tick
), raised AS (
    UPDATE casq.registry_floors AS f SET timeline = newest.timeline, tick = newest.tick
    FROM (SELECT DISTINCT ON (kind) kind, timeline, tick FROM gone ORDER BY kind, timeline DESC, tick DESC) AS newest
    WHERE f.kind = newest.kind AND (f.timeline, f.tick) < (newest.timeline, newest.tick)
)
SELECT count(*) FROM gone

-- name: Runs
-- Old reports of reconciles ($1: how long they are kept), at most $2.
DELETE FROM casq.reconcile_runs WHERE id IN (
    SELECT id FROM casq.reconcile_runs
    WHERE finished_at < clock_timestamp() - $1::interval
    ORDER BY id LIMIT $2
    FOR UPDATE SKIP LOCKED
)

-- name: Failures
-- Events that could not be applied and were replayed long ago ($1), at most $2.
-- Those that were not replayed stay until somebody has seen to them.
DELETE FROM casq.event_failures WHERE (cursor, timeline, event_id) IN (
    SELECT cursor, timeline, event_id FROM casq.event_failures
    WHERE replayed_at < clock_timestamp() - $1::interval
    ORDER BY cursor, timeline, event_id LIMIT $2
    FOR UPDATE SKIP LOCKED
)

-- name: Refreshes
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

-- name: Unchanged
-- Certificates of counters that a recount of all scopes, which has ended a while ago
-- ($1), has found as they were; at most $2. Those that were asked for by name stay,
-- and those that differed. While it is under way, its parts read all of them.
DELETE FROM casq.refreshes WHERE id IN (
    SELECT r.id FROM casq.scans AS s
    LEFT JOIN casq.scans AS w ON w.id = s.part_of AND w.in_parts
    JOIN casq.refreshes AS r ON r.scan = s.id
    WHERE (s.all_scopes OR s.part IN ('table', 'rest') OR w.id IS NOT NULL)
      AND s.finished_at < clock_timestamp() - $1::interval
      AND (w.id IS NULL OR w.finished_at < clock_timestamp() - $1::interval)
      AND r.scope_id IS NOT NULL AND r.state = 'done' AND r.drift_size = 0 AND r.drift_items = 0
    LIMIT $2
    FOR UPDATE OF r SKIP LOCKED
)

-- name: Workers
-- Rows of workers that were killed ($1), at most $2.
DELETE FROM casq.workers WHERE id IN (
    SELECT w.id FROM casq.workers AS w WHERE w.beat_at < clock_timestamp() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED
)

-- name: Delays
-- How late cursors were long ago ($1), at most $2.
DELETE FROM casq.log_delays WHERE (cursor, since) IN (
    SELECT d.cursor, d.since FROM casq.log_delays AS d WHERE d.since < clock_timestamp() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED
)

-- name: Scans
-- Scans of recounts that ended long ago ($1), at most $2, without certificates.
DELETE FROM casq.scans WHERE id IN (
    SELECT s.id FROM casq.scans AS s
    WHERE s.finished_at < clock_timestamp() - $1::interval
      AND NOT EXISTS (SELECT FROM casq.refreshes AS r WHERE r.scan = s.id)
      AND NOT EXISTS (SELECT FROM casq.scans AS w WHERE w.id = s.part_of AND w.finished_at IS NULL)
    ORDER BY s.id LIMIT $2
    FOR UPDATE SKIP LOCKED
)

-- name: Audit
-- What operators asked for long ago ($1), at most $2.
DELETE FROM casq.audit WHERE id IN (
    SELECT a.id FROM casq.audit AS a
    WHERE a.asked_at < clock_timestamp() - $1::interval
    ORDER BY a.asked_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
