-- One look at the source, in one snapshot: does it still show the position
-- (life $1, tick $2, and to_tick $3 unless 0), and where does the step lead?
--
-- LIMIT 1 keeps the planner from joining the target by a walk over all ticks,
-- which it does where ANALYZE last saw a few.
SELECT newest_life.life, newest_life.system_identifier,
       (SELECT system_identifier FROM pg_control_system()) AS server, newest.id,
       (SELECT min(id) FROM casq.ticks) AS oldest_tick,
       (SELECT id FROM casq.lives WHERE life = $1) AS my_life_id,
       (SELECT min(began_tick) FROM casq.lives WHERE life > $1) AS next_began_tick,
       mine.mark, mine.snapshot::text, mine.low_id,
       target.life, target_life.id, target.id, target.mark, target.snapshot::text, target.high_id
FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS newest
JOIN casq.lives AS newest_life ON newest_life.life = newest.life
LEFT JOIN casq.ticks AS mine ON mine.id = $2
LEFT JOIN LATERAL (
    SELECT * FROM casq.ticks WHERE id = CASE WHEN $3::bigint = 0 THEN newest.id ELSE $3 END LIMIT 1
) AS target ON true
LEFT JOIN casq.lives AS target_life ON target_life.life = target.life
