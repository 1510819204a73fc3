-- name: Tally
-- Each event against what was recorded of it. Batches of one cursor are applied
-- one after the other, so that n grows as they are committed.
SELECT (SELECT count(*) FROM casq.events),
       (SELECT count(*) FROM workers.recorded),
       (SELECT count(*) FROM casq.events AS e WHERE NOT EXISTS (SELECT FROM workers.recorded AS r WHERE r.event_id = e.id)),
       (SELECT count(*) FROM (SELECT FROM workers.recorded GROUP BY event_id HAVING count(*) > 1) AS again),
       (SELECT count(*) FROM workers.recorded AS r WHERE NOT EXISTS (SELECT FROM casq.events AS e WHERE e.id = r.event_id)),
       (SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER (ORDER BY n) AS back FROM workers.recorded) AS r WHERE r.back)

-- name: Turns
-- Who applied how many events, in the order in which they had the log.
SELECT worker, epoch, count(*) FROM workers.recorded GROUP BY epoch, worker ORDER BY epoch, worker

-- name: Record
-- One row for each event of a batch, in the transaction that moves the cursor.
INSERT INTO workers.recorded (event_id, tick, worker, epoch)
SELECT e.id, $2, $3, c.epoch
FROM unnest($1::bigint[]) AS e(id)
CROSS JOIN (SELECT epoch FROM casq.cursors WHERE name = $4) AS c
