INSERT INTO casq.scans (kind, whole, compare, floor_life, floor_tick)
SELECT $1, $2, $3, t.life, t.id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1
RETURNING id
