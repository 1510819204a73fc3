-- For a source that does not show the position any more: its newest tick, and
-- the newest one that it shares with what was read up to the position ($1 life,
-- $2 its id, $3 tick).
--
-- A promoted server has a prefix of what the old one wrote: the ticks of a life
-- that both have are the same below the one with which the next life began. Not
-- beyond the position's own tick: inside a step that was read in part, not all
-- events that a later tick shows were read.
SELECT newest_life.system_identifier, newest_life.life, newest_life.id, newest.id, newest.mark,
       shared_life.life, shared_life.id, shared.id, shared.mark
FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS newest
JOIN casq.lives AS newest_life ON newest_life.life = newest.life
LEFT JOIN casq.lives AS mine ON mine.life = $1 AND mine.id = $2
LEFT JOIN LATERAL (
    SELECT * FROM casq.ticks AS t
    WHERE t.id <= $3 AND t.id < (SELECT min(n.began_tick) FROM casq.lives AS n WHERE n.life > mine.life)
    ORDER BY t.id DESC LIMIT 1
) AS shared ON true
LEFT JOIN casq.lives AS shared_life ON shared_life.life = shared.life
