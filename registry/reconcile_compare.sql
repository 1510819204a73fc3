-- What is to be done for things that the source shows ($1 kind, $2 keys, $3
-- payloads, life $4, tick $5), by their place in the page; only where something
-- is. Nothing is locked: look_apply.sql decides again.
SELECT w.n::integer,
       CASE WHEN r.kind IS NULL THEN 'created'
            WHEN (r.life, r.tick) > ($4::integer, $5::bigint) THEN 'late'
            WHEN r.deleted_at IS NOT NULL THEN 'created'
            ELSE 'changed' END
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w (key, payload, n)
LEFT JOIN LATERAL (
    SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key LIMIT 1
) AS r ON true
WHERE r.kind IS NULL OR r.deleted_at IS NOT NULL OR r.payload <> w.payload::jsonb
