-- Where home's cursor stands. Inside a step the events up to tick are applied,
-- and life is that of to_tick.
SELECT life, life_id, tick, mark FROM casq.cursors WHERE name = 'registry'
