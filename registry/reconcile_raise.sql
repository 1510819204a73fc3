-- New versions for rows ($1 kind, $2 keys, $3 versions, locked already) whose
-- things the source cannot be asked for, as of life $4 and tick $5: they are
-- copied again, and what is not there any more shows as missing.
UPDATE casq.registry AS r
SET version = nextval('casq.registry_version'),
    event_id = CASE WHEN r.life = $4 THEN r.event_id ELSE 0 END,
    life = $4, tick = $5,
    deleted_at = NULL,
    incarnation = r.incarnation + 1,
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
FROM unnest(array_fill($1::text, ARRAY[cardinality($2::text[])]), $2::text[], $3::bigint[]) AS w (kind, key, version)
WHERE r.kind = w.kind AND r.resource_id = w.key AND r.version = w.version
  AND (r.life, r.tick) <= ($4, $5)
RETURNING r.kind, r.resource_id, r.version, false
