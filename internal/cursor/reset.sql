-- Locks a cursor that is about to be moved by an operator, under a new epoch:
-- the active one's batches no longer commit.
UPDATE casq.cursors SET epoch = epoch + 1, moved_at = clock_timestamp() WHERE name = $1
RETURNING system_identifier, life, life_id, tick, mark, to_tick, to_mark, page
