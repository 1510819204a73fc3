-- floor is read in the transaction that inserts the row: whoever sees the row
-- sees the tick.
INSERT INTO casq.scans (kind, whole, compare, floor_life, floor_tick)
SELECT $1, $2, $3, t.life, t.id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1
RETURNING id
