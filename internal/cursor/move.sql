-- The fence. The page is part of the position: else a batch whose commit
-- succeeded while its answer was lost would be applied twice.
UPDATE casq.cursors
SET life = $9, life_id = $10, tick = $11, mark = $12, to_tick = $13, to_mark = $14, page = $15,
    beat = beat + 1, moved_at = clock_timestamp(), last_error = NULL,
    caught_up_to = CASE WHEN $17::timestamptz IS NULL THEN caught_up_to ELSE least(clock_timestamp(), $17) END
WHERE name = $1 AND epoch = $2
  AND life = $3 AND life_id = $4 AND tick = $5 AND mark = $6
  AND to_tick = $7 AND to_mark = $16 AND page = $8
