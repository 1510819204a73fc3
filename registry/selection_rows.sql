-- The newest tick with which a row of the kind ($1) came.
SELECT r.life, r.tick FROM casq.registry AS r
WHERE r.kind = $1
ORDER BY r.life DESC, r.tick DESC
LIMIT 1
