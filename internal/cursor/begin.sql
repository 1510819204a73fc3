-- The first start of a cursor. Of two at once one inserts, both go on with it.
INSERT INTO casq.cursors (name, system_identifier, life, life_id, tick, mark)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO NOTHING
