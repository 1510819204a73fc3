-- name: Rows
-- What there is, after a batch was transposed, of resources ($1 kinds, $2 keys).
-- A removal has left no checksum.
SELECT w.kind, w.key, r.incarnation,
       (r.deleted_at IS NULL AND r.synced_incarnation = r.incarnation AND r.checksum IS NOT NULL) IS TRUE,
       coalesce(r.left_incarnation, 0)
FROM unnest($1::text[], $2::text[]) AS w (kind, key)
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r WHERE r.kind = w.kind AND r.resource_id = w.key LIMIT 1
) AS r

-- name: Moves
-- The moves to resources ($1 kinds, $2 keys), and whether they are of this step of the log
-- (timeline $3, tick $4).
SELECT m.kind, m.resource_id, m.base_id, m.base_incarnation, m.via, coalesce(m.incarnation, 0), (m.timeline, m.tick) = ($3, $4)
FROM unnest($1::text[], $2::text[]) AS w (kind, key)
CROSS JOIN LATERAL (
    SELECT * FROM casq.moves AS m WHERE m.kind = w.kind AND m.resource_id = w.key
) AS m

-- name: Write
-- Moves that a batch of timeline $6 and tick $7 tells of ($1 to $5: kind, key, key and
-- incarnation of what is in place, whether the event of the new key has come; $8 key that
-- the resource had before).
INSERT INTO casq.moves AS m (kind, resource_id, base_id, base_incarnation, via, incarnation, timeline, tick)
SELECT w.kind, w.key, w.base, w.base_incarnation, w.via,
       CASE WHEN w.arrived THEN (SELECT r.incarnation FROM casq.registry AS r WHERE r.kind = w.kind AND r.resource_id = w.key) END, $6, $7
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::boolean[], $8::text[]) AS w (kind, key, base, base_incarnation, arrived, via)
ORDER BY w.kind COLLATE "C", w.key COLLATE "C", w.base COLLATE "C", w.base_incarnation
ON CONFLICT ON CONSTRAINT moves_pkey DO UPDATE
SET via = excluded.via, incarnation = excluded.incarnation, timeline = excluded.timeline, tick = excluded.tick

-- name: Drop
-- Ends moves ($1 to $4: kind, key, key and incarnation of what is in place) that are not to
-- be carried out any more, and returns what they have kept.
DELETE FROM casq.moves AS m
USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS w (kind, key, base, base_incarnation)
WHERE m.kind = w.kind AND m.resource_id = w.key AND m.base_id = w.base AND m.base_incarnation = w.base_incarnation
RETURNING m.kind, m.base_id

-- name: End
-- Likewise those to resources ($1 kinds, $2 keys) that are over; with $3 also those to other
-- resources, which had the keys before. What the sweep ends right now is left to it.
WITH over AS MATERIALIZED (
    SELECT m.* FROM unnest($1::text[], $2::text[]) AS w (kind, key)
    CROSS JOIN LATERAL (
        SELECT * FROM casq.moves AS m
        WHERE m.kind = w.kind AND m.resource_id = w.key
          AND (casq.move_is_over(m)
               OR $3 AND m.incarnation < (SELECT r.incarnation FROM casq.registry AS r WHERE r.kind = w.kind AND r.resource_id = w.key))
        FOR UPDATE SKIP LOCKED
    ) AS m
)
DELETE FROM casq.moves AS m USING over AS o
WHERE (m.kind, m.resource_id, m.base_id, m.base_incarnation) = (o.kind, o.resource_id, o.base_id, o.base_incarnation)
RETURNING m.kind, m.base_id

-- name: Sweep
-- Likewise all that are over, $1 at most.
WITH over AS MATERIALIZED (
    SELECT * FROM casq.moves AS m WHERE casq.move_is_over(m)
    ORDER BY m.kind, m.resource_id LIMIT $1
    FOR UPDATE SKIP LOCKED
)
DELETE FROM casq.moves AS m USING over AS o
WHERE (m.kind, m.resource_id, m.base_id, m.base_incarnation) = (o.kind, o.resource_id, o.base_id, o.base_incarnation)
RETURNING m.kind, m.base_id

-- name: Waiting
-- The removals of resources ($1 kinds, $2 keys) that are to be done.
SELECT r.kind, r.resource_id, r.version, true
FROM (SELECT DISTINCT w.kind, w.key FROM unnest($1::text[], $2::text[]) AS w (kind, key)) AS w
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.key
      AND r.deleted_at IS NOT NULL AND r.synced_version IS DISTINCT FROM r.version
    LIMIT 1
) AS r
ORDER BY r.kind, r.resource_id

-- name: Kept
-- All copies that moves keep.
SELECT DISTINCT m.kind, m.base_id, m.base_incarnation FROM casq.moves AS m
