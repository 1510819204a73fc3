-- Where home has come to in the log that it follows.
SELECT system_identifier, life, life_id, tick, mark, to_tick, to_mark, page
FROM casq.cursors WHERE name = 'registry'
