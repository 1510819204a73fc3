-- The oldest tick that is still there; tick 0 shows nothing, so a reader that
-- starts at it reads the whole log.
SELECT life.system_identifier, life.life, life.id, tick.id, tick.mark
FROM (SELECT * FROM casq.ticks ORDER BY id LIMIT 1) AS tick
JOIN casq.lives AS life ON life.life = tick.life
