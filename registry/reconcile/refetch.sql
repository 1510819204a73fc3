-- name: Apply
-- Resources that the source shows ($1 kind, $2 keys, $3 payloads), read in timeline $4
-- at tick $5 or a little later. A row whose intent came with a later tick is left
-- alone: the log knows better. $6: a new version also where nothing differs.
-- $7 scopes. $8: the log may lack events of them.
--
-- One statement writes new rows and old ones in key order, as the transposer
-- does: to lock the old ones first and to insert the others then would wait in
-- circles with it.
INSERT INTO casq.registry AS r (kind, resource_id, timeline, event_id, tick, payload, scope_id)
SELECT $1, w.key, $4, 0, $5, w.payload::jsonb, w.scope
FROM unnest($2::text[], $3::text[], $7::text[]) AS w (key, payload, scope)
ORDER BY w.key COLLATE "C"
ON CONFLICT (kind, resource_id) DO UPDATE
SET version = nextval('casq.registry_version'),
    -- Every event of the present timeline that is still to come is above 0.
    event_id = CASE WHEN r.timeline = excluded.timeline THEN r.event_id ELSE 0 END,
    timeline = excluded.timeline, tick = excluded.tick,
    deleted_at = NULL,
    -- A resource that an earlier timeline of the source has told of may have been lost,
    -- and be another one by now under the same key. So may one whose payload has
    -- another value where the log has a hole ($8), but not where the log has no hole,
    -- and not because the payload has more columns. On a tombstone the delete has
    -- raised incarnation.
    incarnation = r.incarnation + CASE WHEN r.deleted_at IS NULL AND ($6 AND r.timeline < excluded.timeline OR $8 AND EXISTS (
        SELECT FROM jsonb_each(r.payload) AS told JOIN jsonb_each(excluded.payload) AS seen USING (key) WHERE told.value <> seen.value
    )) THEN 1 ELSE 0 END,
    payload = excluded.payload,
    scope_id = excluded.scope_id,
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE (r.timeline, r.tick) <= (excluded.timeline, excluded.tick)
  AND ($6 OR r.deleted_at IS NOT NULL OR r.payload <> excluded.payload)
RETURNING kind, resource_id, version, false

-- name: Remove
-- Delete intents for rows ($1 kind, $2 keys, $3 versions, locked already) whose
-- resources the source did not show in timeline $4 at tick $5: only under the versions
-- that were read, and only if the tick is not below the intent's.
UPDATE casq.registry AS r
SET version = nextval('casq.registry_version'),
    event_id = CASE WHEN r.timeline = $4 THEN r.event_id ELSE 0 END,
    timeline = $4, tick = $5,
    deleted_at = clock_timestamp(),
    incarnation = r.incarnation + 1,
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
-- An array of one kind, where the kind itself would do: with that the planner
-- joins all rows of the kind.
FROM unnest(array_fill($1::text, ARRAY[cardinality($2::text[])]), $2::text[], $3::bigint[]) AS w (kind, key, version)
WHERE r.kind = w.kind AND r.resource_id = w.key AND r.version = w.version
  AND r.deleted_at IS NULL
  AND (r.timeline, r.tick) <= ($4, $5)
RETURNING r.kind, r.resource_id, r.version, true

-- name: Floor
-- May a page of timeline $2 at tick $3 be applied to rows of kind $1? Locks the
-- floor until the end of the transaction: whoever purges tombstones raises it
-- first, and so either waits for this page or is seen by it.
SELECT (f.timeline, f.tick) <= ($2::integer, $3::bigint) FROM casq.registry_floors AS f WHERE f.kind = $1 FOR SHARE

-- name: Versions
-- The versions of live rows ($1 kind, $2 keys).
SELECT r.resource_id, r.version FROM unnest($2::text[]) AS w (key)
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key AND r.deleted_at IS NULL LIMIT 1
) AS r

-- name: Reached
-- Has the log nothing between home's tick ($1, with its nonce $2) and tick $3 of
-- timeline $4? A stored position does not move over ticks without events, and does
-- not enter a timeline before it has some.
SELECT EXISTS (
    SELECT FROM casq.ticks AS mine
    JOIN casq.ticks AS shown ON shown.id = $3 AND shown.timeline = $4
    WHERE mine.id = $1 AND mine.nonce = $2 AND mine.id <= shown.id
      AND NOT casq.events_between(mine.snapshot, shown.snapshot)
)

-- name: Resources
SELECT listed, keys, payloads, scopes, last_key, timeline, timeline_id, tick FROM casq.resources($1, $2, $3, $4, $5)

-- name: Of
SELECT listed, keys, payloads, scopes, answered, timeline, timeline_id, tick FROM casq.resources_of($1, $2, $3, $4)

-- name: Coming
-- Which of the keys ($2) of a kind ($1) have an event that the source shows, and
-- tick $3 of timeline $4 does not: the log brings it. As in Page of eventlog's log.sql,
-- its transaction was open at the tick, or is beyond it.
SELECT coalesce(array_agg(DISTINCT e.resource_id), '{}')
FROM casq.ticks AS t
CROSS JOIN LATERAL (
    SELECT late.* FROM pg_snapshot_xip(t.snapshot) AS x (xid)
    CROSS JOIN LATERAL (SELECT * FROM casq.events AS e WHERE e.xid = x.xid) AS late
    UNION ALL
    SELECT e.* FROM casq.events AS e
    WHERE e.id > t.low_id AND (e.xid >= pg_snapshot_xmax(t.snapshot)) IS TRUE
) AS e
WHERE t.id = $3 AND t.timeline = $4 AND e.kind = $1 AND e.resource_id = ANY ($2::text[])

-- name: Missing
SELECT listed, keys, timeline, timeline_id, tick FROM casq.resources_missing($1, $2, $3)
