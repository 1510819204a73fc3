-- Delete intents for rows ($1 kind, $2 keys, $3 versions, locked already) whose
-- things the source did not show in life $4 at tick $5: only under the versions
-- that were looked at, and only if the look was not earlier than the intent.
UPDATE casq.registry AS r
SET version = nextval('casq.registry_version'),
    event_id = CASE WHEN r.life = $4 THEN r.event_id ELSE 0 END,
    life = $4, tick = $5,
    deleted_at = clock_timestamp(),
    incarnation = r.incarnation + 1,
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
-- An array of one kind, where the kind itself would do: with that the planner
-- joins all rows of the kind.
FROM unnest(array_fill($1::text, ARRAY[cardinality($2::text[])]), $2::text[], $3::bigint[]) AS w (kind, key, version)
WHERE r.kind = w.kind AND r.resource_id = w.key AND r.version = w.version
  AND r.deleted_at IS NULL
  AND (r.life, r.tick) <= ($4, $5)
RETURNING r.kind, r.resource_id, r.version, true
