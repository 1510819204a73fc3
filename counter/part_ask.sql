-- A part ($2, of the table beyond the scope $3 in the order $4) of the recount $1.
INSERT INTO casq.scans (kind, whole, compare, part_of, part, after_scope, scope_order, floor_life, floor_tick)
SELECT w.kind, false, w.compare, w.id, $2, $3, $4, t.life, t.id
FROM casq.scans AS w, LATERAL (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS t
WHERE w.id = $1
RETURNING id
