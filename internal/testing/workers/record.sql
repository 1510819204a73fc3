-- One row for each event of a batch, in the transaction that moves the cursor.
INSERT INTO workers.recorded (event_id, tick, worker, epoch)
SELECT e.id, $2, $3, c.epoch
FROM unnest($1::bigint[]) AS e(id)
CROSS JOIN (SELECT epoch FROM casq.cursors WHERE name = $4) AS c
