-- name: Record
-- One row for each event of a batch, in the transaction that moves the cursor.
INSERT INTO recorded (timeline, timeline_id, tick, nonce, event_id, kind, resource_id, op, worker, epoch)
SELECT $1, $2, $3, $4, e.id, e.kind, e.resource_id, e.op, $9, c.epoch
FROM unnest($5::bigint[], $6::text[], $7::text[], $8::text[]) AS e(id, kind, resource_id, op)
CROSS JOIN (SELECT epoch FROM casq.cursors WHERE name = $10) AS c

-- name: Rewound
INSERT INTO rewound (from_timeline, from_tick, to_timeline, to_tick, everything, worker)
VALUES ($1, $2, $3, $4, $5, $6)
