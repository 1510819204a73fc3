-- The events beyond a position (tick $1 with mark $2, and page $3 in a step
-- that is read in pages), counted up to $4; no row when the tick is gone. The
-- two parts are those of a page that is read: what was open in the tick's
-- snapshot, and what began after it.
SELECT (
    SELECT count(*)
    FROM (
        SELECT FROM pg_snapshot_xip(mine.snapshot) AS late (xid)
        JOIN casq.events AS e ON e.xid = late.xid AND e.id > $3
        UNION ALL
        SELECT FROM casq.events AS e
        WHERE e.id > greatest(mine.low_id, $3) AND e.xid >= pg_snapshot_xmax(mine.snapshot)
        LIMIT $4
    ) AS beyond
)
FROM casq.ticks AS mine
WHERE mine.id = $1 AND mine.mark = $2
