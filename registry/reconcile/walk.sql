-- name: Placed
-- What is to be done for resources that are in place ($1 kind, $2 keys, $3 whether
-- they were put there since something was lost), by key; only where something
-- is. Rows that were written, verified or asked to be verified since $4 are left
-- out of the checks.
-- Where kinds share a tree, what has the place of another kind's row is of that kind.
-- Nothing is locked: Unwanted decides again.
SELECT w.key, coalesce(r.version, 0),
       CASE WHEN r.kind IS NULL THEN 'orphan'
            WHEN r.deleted_at IS NOT NULL THEN 'back'
            ELSE 'check' END
FROM unnest($2::text[], $3::boolean[]) AS w (key, since)
LEFT JOIN LATERAL (
    SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key LIMIT 1
) AS r ON true
WHERE (r.kind IS NULL OR r.deleted_at IS NOT NULL AND r.synced_version = r.version) AND NOT EXISTS (
          SELECT FROM casq.neighbour_keys($1, ARRAY[w.key]) AS n
          JOIN casq.registry AS o ON o.kind = n.kind AND o.resource_id = n.theirs
          WHERE o.deleted_at IS NULL OR o.synced_version IS DISTINCT FROM o.version)
   OR r.deleted_at IS NULL AND r.synced_version = r.version AND w.since AND coalesce(greatest(r.verified_at, r.check_asked_at), '-infinity') < $4
ORDER BY w.key COLLATE "C"

-- name: Neighbours
-- The keys ($2) of a kind ($1) as those of the kinds that it shares a tree with.
SELECT n.kind, array_agg(n.key), array_agg(n.theirs) FROM casq.neighbour_keys($1, $2::text[]) AS n GROUP BY n.kind

-- name: Synced
-- A page of the rows of a kind ($1) beyond a key ($2) and not beyond another ($3;
-- NULL: to the end), of $5 at most, and which of them say that their resource is in
-- place since before $4, and were not asked to be verified since then. (As a condition
-- that would have the planner read all rows.)
SELECT r.resource_id, r.version,
       r.deleted_at IS NULL AND r.synced_version = r.version AND coalesce(greatest(r.verified_at, r.check_asked_at), '-infinity') < $4
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id > $2 AND ($3::text IS NULL OR r.resource_id <= $3)
ORDER BY r.resource_id
LIMIT $5

-- name: Unwanted
-- Asks for the removal of resources that are in place and not wanted ($1 kind, $2
-- keys, $3 versions, read in timeline $4 at tick $5): a tombstone for what has no
-- row (version 0), a new version of a tombstone that was carried out. A row that was
-- written since then is left alone. One statement, in key order: see Apply of
-- refetch.sql.
INSERT INTO casq.registry AS r (kind, resource_id, version, timeline, event_id, tick, deleted_at, incarnation, payload)
SELECT $1, w.key, CASE WHEN w.version = 0 THEN nextval('casq.registry_version') ELSE w.version END,
       -- Every event that is still to come is newer.
       $4, 0, $5, clock_timestamp(), 2, '{}'
FROM unnest($2::text[], $3::bigint[]) AS w (key, version)
ORDER BY w.key COLLATE "C"
ON CONFLICT (kind, resource_id) DO UPDATE
SET version = nextval('casq.registry_version'),
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE r.deleted_at IS NOT NULL AND r.version = excluded.version AND r.synced_version = r.version
RETURNING kind, resource_id, version, true

-- name: Orphans
-- Notes the keys ($3) of what run $1 has found in place of kind $2 and of no row,
-- up to $4 in all.
INSERT INTO casq.reconcile_orphans (run, kind, resource_id)
SELECT $1, $2, w.key FROM unnest($3::text[]) WITH ORDINALITY AS w (key, n)
ORDER BY w.n
LIMIT greatest(0, $4 - (SELECT count(*) FROM casq.reconcile_orphans AS o WHERE o.run = $1 AND o.kind = $2))
ON CONFLICT DO NOTHING
