-- Which of the keys ($2) of a kind ($1) have an event that the source shows, and
-- tick $3 of life $4 does not: the log brings it. As in page.sql of the log, its
-- transaction was open at the tick, or is beyond it.
SELECT coalesce(array_agg(DISTINCT e.resource_id), '{}')
FROM casq.ticks AS t
CROSS JOIN LATERAL (
    SELECT late.* FROM pg_snapshot_xip(t.snapshot) AS x (xid)
    CROSS JOIN LATERAL (SELECT * FROM casq.events AS e WHERE e.xid = x.xid) AS late
    UNION ALL
    SELECT e.* FROM casq.events AS e
    WHERE e.id > t.low_id AND (e.xid >= pg_snapshot_xmax(t.snapshot)) IS TRUE
) AS e
WHERE t.id = $3 AND t.life = $4 AND e.kind = $1 AND e.resource_id = ANY ($2::text[])
