-- What is to be seen of a cursor's holder. A session of another role hides its
-- start: it is taken for the holder's, that is, alive.
SELECT c.epoch, c.beat, coalesce(c.holder, ''), c.backend_pid, c.backend_start,
       c.backend_pid IS NOT NULL AND EXISTS (
           SELECT FROM pg_stat_get_activity(c.backend_pid) AS session
           WHERE session.backend_start = c.backend_start OR session.backend_start IS NULL),
       c.system_identifier, c.life, c.life_id, c.tick, c.mark, c.to_tick, c.to_mark, c.page
FROM casq.cursors AS c
WHERE c.name = $1
