-- The source's events, each with the first life of which a tick shows it.
WITH last AS MATERIALIZED (
    SELECT DISTINCT ON (life) life, snapshot FROM casq.ticks ORDER BY life, id DESC
)
SELECT e.id, e.kind, e.resource_id,
       coalesce((SELECT min(l.life) FROM last AS l WHERE pg_visible_in_snapshot(e.xid, l.snapshot)), 0)
FROM casq.events AS e
