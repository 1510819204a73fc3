-- What events that the scan ($1) did not see have added, up to the tick $2.
SELECT e.scope_id, sum(e.size_delta)::text, sum(e.item_delta)::bigint
FROM casq.scans AS s
JOIN casq.ticks AS low ON low.id = s.tick
JOIN casq.ticks AS high ON high.id = $2
CROSS JOIN LATERAL (
    SELECT * FROM casq.events AS e WHERE e.xid >= pg_snapshot_xmax(low.snapshot) AND e.xid < pg_snapshot_xmax(high.snapshot)
    UNION ALL
    SELECT e.* FROM pg_snapshot_xip(low.snapshot) AS late (xid)
    JOIN casq.events AS e ON e.xid = late.xid
) AS e
WHERE s.id = $1 AND e.kind = s.kind AND e.scope_id IS NOT NULL
  AND e.xid <> ALL (s.xids)
  AND pg_visible_in_snapshot(e.xid, high.snapshot)
GROUP BY e.scope_id
