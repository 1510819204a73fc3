-- In the snapshot of a scan ($1) by the run $2: the newest tick, and the
-- transactions with events beyond it. No row: the host does not show the run, or
-- the tick ($3, $4) that the request saw.
SELECT t.life, t.id, t.mark,
       ARRAY(
           SELECT DISTINCT e.xid::text FROM casq.events AS e WHERE e.xid >= pg_snapshot_xmax(t.snapshot)
           UNION
           SELECT late.xid::text FROM pg_snapshot_xip(t.snapshot) AS late (xid)
           WHERE EXISTS (SELECT FROM casq.events AS e WHERE e.xid = late.xid)
       )
FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS t
WHERE EXISTS (SELECT FROM casq.scans AS s WHERE s.id = $1 AND s.token = $2)
  AND (t.life, t.id) >= ($3, $4)
