-- Rows of life $1 and above become older than all that will come in it: of the
-- life before, so that a create is seen to be of another thing. They are locked
-- in key order.
UPDATE casq.registry AS r SET life = $1 - 1, event_id = 0, tick = 0
FROM (SELECT kind, resource_id FROM casq.registry WHERE life >= $1
      ORDER BY kind, resource_id FOR NO KEY UPDATE) AS l
WHERE r.kind = l.kind AND r.resource_id = l.resource_id
