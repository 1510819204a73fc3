-- The oldest tick that is still there; tick 0 shows nothing, so a reader that
-- starts at it reads the whole log. The system is that of the newest tick, as
-- in look.sql: the oldest may have been taken before pg_upgrade.
SELECT newest_life.system_identifier, life.life, life.id, tick.id, tick.mark
FROM (SELECT * FROM casq.ticks ORDER BY id LIMIT 1) AS tick
JOIN casq.lives AS life ON life.life = tick.life
CROSS JOIN (SELECT life FROM casq.ticks ORDER BY id DESC LIMIT 1) AS newest
JOIN casq.lives AS newest_life ON newest_life.life = newest.life
