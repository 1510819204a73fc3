-- The fence, looked at before the batch's work; move.sql is the fence itself.
SELECT epoch,
       life = $2 AND life_id = $3 AND tick = $4 AND mark = $5
       AND to_tick = $6 AND to_mark = $7 AND page = $8
FROM casq.cursors
WHERE name = $1
