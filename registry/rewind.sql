-- name: Purged
-- Were tombstones purged that came with ticks beyond (timeline $1, tick $2)?
SELECT EXISTS (SELECT FROM casq.registry_floors WHERE (timeline, tick) > ($1, $2))

-- name: Rows
-- Rows of timeline $1 and above become older than all events that will come in it: they
-- are of the timeline before then, so that a create is seen to be of another resource.
-- They are locked in key order.
UPDATE casq.registry AS r SET timeline = $1 - 1, event_id = 0, tick = 0
FROM (SELECT kind, resource_id FROM casq.registry WHERE timeline >= $1
      ORDER BY kind, resource_id FOR NO KEY UPDATE) AS l
WHERE r.kind = l.kind AND r.resource_id = l.resource_id

-- name: Moves
-- The steps of moves that are of timeline $1 and above will not be read to their ends.
UPDATE casq.moves SET timeline = 0, tick = 0 WHERE timeline >= $1

-- name: Requests
-- A request of another timeline waits for a tick that no host shows: it waits for one of
-- the present timeline (timeline $1, tick $2) instead.
UPDATE casq.reconcile_runs SET at_timeline = $1, at_tick = $2
WHERE finished_at IS NULL AND at_timeline IS NOT NULL
