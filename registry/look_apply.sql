-- What the source shows of things that are there ($1 kind, $2 keys, $3
-- payloads), looked at in life $4 at tick $5 or a little later. A row whose
-- intent came with a later tick is left alone: the log knows better. $6: a new
-- version also where nothing differs. $7 scopes. $8: the log may lack
-- events of them.
--
-- One statement writes new rows and old ones in key order, as the transposer
-- does: to lock the old ones first and to insert the others then would wait in
-- circles with it.
INSERT INTO casq.registry AS r (kind, resource_id, life, event_id, tick, payload, scope_id)
SELECT $1, w.key, $4, 0, $5, w.payload::jsonb, w.scope
FROM unnest($2::text[], $3::text[], $7::text[]) AS w (key, payload, scope)
ORDER BY w.key COLLATE "C"
ON CONFLICT (kind, resource_id) DO UPDATE
SET version = nextval('casq.registry_version'),
    -- Every event of the present life that is still to come is above 0.
    event_id = CASE WHEN r.life = excluded.life THEN r.event_id ELSE 0 END,
    life = excluded.life, tick = excluded.tick,
    deleted_at = NULL,
    -- What an earlier life of the source has told of, and is looked at again since
    -- that may be lost, may be another thing by now under the same key. So may one
    -- that is told otherwise where the log has a hole ($8), but not where it has
    -- none, and not because more columns are told of. On a tombstone the delete has
    -- raised it.
    incarnation = r.incarnation + CASE WHEN r.deleted_at IS NULL AND ($6 AND r.life < excluded.life OR $8 AND EXISTS (
        SELECT FROM jsonb_each(r.payload) AS told JOIN jsonb_each(excluded.payload) AS seen USING (key) WHERE told.value <> seen.value
    )) THEN 1 ELSE 0 END,
    payload = excluded.payload,
    scope_id = excluded.scope_id,
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE (r.life, r.tick) <= (excluded.life, excluded.tick)
  AND ($6 OR r.deleted_at IS NOT NULL OR r.payload <> excluded.payload)
RETURNING kind, resource_id, version, false
