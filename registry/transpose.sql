-- name: Transpose
-- One intent per resource, in key order ($1 to $6: kind, key, event id, deleted,
-- number of deletes, payload; $7 timeline, $8 tick; $9 whether it was created, $10
-- scope, $11 whether it only ends what is there). An event that is not newer than
-- the row's is ignored on a tombstone. On a live row it raises the version and
-- leaves the intent alone: a needless copy, never a lost one.
--
-- Sessions have each statement planned anew, and so the check of the foreign key for
-- each row, which took 19 us of 32. From here to the end of the statement, when it is checked,
-- its plan may be kept: it looks into casq.kinds, which has few rows, and is always by key.
INSERT INTO casq.registry AS r (kind, resource_id, timeline, event_id, tick, deleted_at, incarnation, payload, scope_id, synced_incarnation)
SELECT i.kind, i.resource_id, $7, i.event_id, $8,
       CASE WHEN i.deleted THEN clock_timestamp() END, 1 + i.deletes, i.payload::jsonb, i.scope_id,
       -- No incarnation is 0: to a new row it is as good as NULL. It tells the
       -- update below, which sees columns only, of a create.
       CASE WHEN i.created THEN 0 END
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[], $5::bigint[], $6::text[], $9::boolean[], $10::text[], $11::boolean[])
     AS i (kind, resource_id, event_id, deleted, deletes, payload, created, scope_id, quiet),
     (SELECT set_config('plan_cache_mode', 'auto', true)) AS s
WHERE NOT i.quiet
   OR (SELECT r.deleted_at IS NULL FROM casq.registry AS r WHERE r.kind = i.kind AND r.resource_id = i.resource_id)
ORDER BY i.kind COLLATE "C", i.resource_id COLLATE "C"
ON CONFLICT (kind, resource_id) DO UPDATE
SET version = nextval('casq.registry_version'),
    timeline = CASE WHEN (excluded.timeline, excluded.event_id) > (r.timeline, r.event_id) THEN excluded.timeline ELSE r.timeline END,
    event_id = CASE WHEN (excluded.timeline, excluded.event_id) > (r.timeline, r.event_id) THEN excluded.event_id ELSE r.event_id END,
    -- Ticks of a newer timeline may have lower numbers.
    tick = CASE WHEN excluded.timeline = r.timeline THEN greatest(excluded.tick, r.tick)
                WHEN excluded.timeline > r.timeline THEN excluded.tick ELSE r.tick END,
    deleted_at = CASE WHEN (excluded.timeline, excluded.event_id) > (r.timeline, r.event_id) THEN excluded.deleted_at ELSE r.deleted_at END,
    -- Also for a delete that comes late: what is in place may be from before it.
    -- And for a create of a resource that has a live row of an earlier timeline of the
    -- source: that resource was lost, this is another one. (In the same timeline it is
    -- the create of a resource that a page of the source has shown before.)
    incarnation = r.incarnation + excluded.incarnation - 1
                  + CASE WHEN excluded.synced_incarnation = 0 AND excluded.timeline > r.timeline AND r.deleted_at IS NULL THEN 1 ELSE 0 END,
    left_incarnation = CASE WHEN excluded.incarnation = 1 THEN r.left_incarnation
                            WHEN r.deleted_at IS NULL AND r.synced_incarnation = r.incarnation AND r.checksum IS NOT NULL THEN r.incarnation END,
    -- A delete says nothing about the resource; what a cleaner may need stays.
    payload = CASE WHEN (excluded.timeline, excluded.event_id) > (r.timeline, r.event_id) AND excluded.deleted_at IS NULL
                   THEN excluded.payload ELSE r.payload END,
    scope_id = CASE WHEN (excluded.timeline, excluded.event_id) > (r.timeline, r.event_id) THEN excluded.scope_id ELSE r.scope_id END,
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE r.deleted_at IS NULL OR (excluded.timeline, excluded.event_id) > (r.timeline, r.event_id)
RETURNING kind, resource_id, version, deleted_at IS NOT NULL

-- name: Prompt
-- Those of some resources (kinds $1, keys $2) that have a prompt job which has not
-- ended. OFFSET 0: a resource's jobs are found by their index, and never by a join
-- with all that wait.
SELECT w.kind, w.key
FROM unnest($1::text[], $2::text[]) AS w (kind, key)
WHERE EXISTS (
    SELECT FROM (
        SELECT * FROM river.river_job AS j
        WHERE j.finalized_at IS NULL
          AND (j.args ->> 'resource_id') COLLATE "C" = w.key AND j.args ->> 'kind' = w.kind
        OFFSET 0
    ) AS j
    WHERE j.kind IN ('casq_sync', 'casq_remove') AND j.priority = 1
)
