-- name: Source
-- What the source is: a standby? Does it have home's tick ($1, $2)?
SELECT pg_is_in_recovery(), EXISTS (SELECT FROM casq.ticks AS t WHERE t.id = $1 AND t.nonce = $2)

-- name: Beyond
-- The events of the source's log beyond home's position (tick $1 with nonce $2; within a
-- step to tick $3 with nonce $4, of which home has what is up to $5), by kind and by whether
-- the newest event of a resource deletes it, with the first $6 of the resources. Without the
-- tick these are all events that are kept.
SELECT r.kind, r.deleted, sum(r.events)::bigint, count(*), (array_agg(r.resource_id ORDER BY r.resource_id))[1:$6::integer]
FROM (
    SELECT e.kind, e.resource_id COLLATE "C" AS resource_id, count(*) AS events, (array_agg(e.op ORDER BY e.id DESC))[1] = 'deleted' AS deleted
    FROM (VALUES (1)) AS one
    LEFT JOIN casq.ticks AS at ON at.id = $1 AND at.nonce = $2
    LEFT JOIN casq.ticks AS target ON target.id = $3 AND target.nonce = $4
    CROSS JOIN LATERAL (
        SELECT n.* FROM casq.events AS n WHERE n.xid >= coalesce(pg_snapshot_xmax(at.snapshot), '0')
        UNION ALL
        SELECT l.* FROM pg_snapshot_xip(at.snapshot) AS late (xid) CROSS JOIN LATERAL (SELECT * FROM casq.events AS e WHERE e.xid = late.xid OFFSET 0) AS l
    ) AS e
    JOIN casq.kinds AS k ON k.kind = e.kind
    WHERE target.id IS NULL OR e.id > $5 OR NOT pg_visible_in_snapshot(e.xid, target.snapshot)
    GROUP BY e.kind, e.resource_id
) AS r
GROUP BY r.kind, r.deleted

-- name: Views
-- What the source's tracked views lack: it is in no log.
SELECT v.kind, v.changes, v.why FROM casq.views_behind() AS v

-- name: Open
-- Resources that have work to do and did not fail at it, and comparisons with the source that
-- are not over, but for those that come round by themselves.
SELECT coalesce((SELECT sum(s.count) FROM casq.registry_summary AS s WHERE s.status IN ('pending', 'started', 'removing')), 0)::bigint,
       (SELECT count(*) FROM casq.reconcile_runs AS r WHERE r.finished_at IS NULL AND r.reason <> 'scheduled' AND NOT r.dry_run)

-- name: Rows
-- What is not in place, by kind and status: how many, and the first $1 of them.
SELECT s.kind, s.status, count(*), (array_agg(s.resource_id ORDER BY s.resource_id))[1:$1::integer]
FROM casq.registry_status AS s
WHERE s.status NOT IN ('synced', 'removed')
GROUP BY s.kind, s.status

-- name: InPlace
SELECT s.kind, sum(s.count)::bigint FROM casq.registry_summary AS s WHERE s.status = 'synced' GROUP BY s.kind

-- name: DeadLetters
-- Events that could not be applied, likewise.
SELECT f.kind, count(DISTINCT f.resource_id), (array_agg(DISTINCT f.resource_id))[1:$1::integer]
FROM casq.event_failures AS f WHERE f.replayed_at IS NULL GROUP BY f.kind

-- name: Partial
-- Kinds of which this site has a part.
SELECT s.kind FROM casq.selections AS s WHERE s.scopes IS NOT NULL ORDER BY s.kind

-- name: Workers
-- The workers of this site that have shown a sign of life lately, but for this process's own.
SELECT w.host || ' pid ' || w.pid FROM casq.live_workers AS w WHERE NOT (w.host = $1 AND w.pid = $2) ORDER BY 1

-- name: Page
-- A page of what is in place of a kind ($1), beyond a key ($2), $3 rows; $4: asked for
-- within this time.
SELECT r.resource_id, r.version, r.payload, coalesce(r.checksum, '')
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id > $2 AND r.deleted_at IS NULL AND r.synced_version = r.version
  AND ($4::interval IS NULL OR r.queued_at > clock_timestamp() - $4)
ORDER BY r.resource_id
LIMIT $3

-- name: Same
-- Is version $3 of a row ($1, $2) the one that is wanted, and in place, still?
SELECT EXISTS (SELECT FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = $2 AND r.version = $3 AND r.synced_version = $3 AND r.deleted_at IS NULL)

-- name: Repositories
-- A page of the keys of a kind ($1), beyond a key ($2), $3 rows, of which a version is in place.
SELECT r.resource_id FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id > $2 AND r.synced_version IS NOT NULL AND r.deleted_at IS NULL
ORDER BY r.resource_id
LIMIT $3

-- name: Lock
SELECT pg_try_advisory_lock(hashtextextended('casq.promote', 0))

-- name: Name
-- Stays the same when the cluster fails over.
SELECT system_identifier || '/' || current_database() FROM pg_control_system()
