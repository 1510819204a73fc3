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
    RETURNING r.kind, r.life, r.tick
), raised AS (
    UPDATE casq.registry_floors AS f SET life = newest.life, tick = newest.tick
    FROM (SELECT DISTINCT ON (kind) kind, life, tick FROM gone ORDER BY kind, life DESC, tick DESC) AS newest
    WHERE f.kind = newest.kind AND (f.life, f.tick) < (newest.life, newest.tick)
)
SELECT count(*) FROM gone
