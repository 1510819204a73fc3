-- name: Needed
-- The first tick that shows all that tick $1 shows. A cursor's stored position
-- does not move over ticks without events, so it may never come to $1 itself.
SELECT min(t.id)
FROM casq.ticks AS t
JOIN casq.ticks AS last ON last.id = $1
WHERE t.id <= last.id AND NOT casq.events_between(t.snapshot, last.snapshot)

-- name: State
-- What a site that follows has done and has left to do: resources per kind and
-- status, where its cursor stands, and jobs that are about to run.
SELECT coalesce((SELECT tick FROM casq.cursors WHERE name = 'registry' AND to_tick = 0), -1),
       coalesce((SELECT tick || '/' || page FROM casq.cursors WHERE name = 'registry'), 'none'),
       coalesce((SELECT jsonb_object_agg(kind, statuses)
                 FROM (SELECT kind, jsonb_object_agg(status, count) AS statuses
                       FROM casq.registry_summary GROUP BY kind) AS s), '{}'),
       (SELECT count(*) FROM river.river_job WHERE state IN ('available', 'running', 'pending'))

-- name: Unfinished
-- Why some resources that are not done are not: the ones that wait longest.
SELECT casq.why(kind, resource_id)
FROM casq.registry_status
WHERE status NOT IN ('synced', 'removed')
ORDER BY queued_at
LIMIT $1

-- name: Counters
-- What each project's counter says and what its rows come to, and whether these
-- are the same.
SELECT scope_id, coalesce(c.size, 0)::text, coalesce(c.items, 0), coalesce(r.size, 0)::text, coalesce(r.items, 0),
       (coalesce(c.size, 0), coalesce(c.items, 0)) = (coalesce(r.size, 0), coalesce(r.items, 0))
FROM (SELECT * FROM casq.statistics WHERE kind = 'artifact') AS c
FULL JOIN (
    SELECT project_id::text COLLATE "C" AS scope_id, sum(size) AS size, count(*) AS items FROM artifacts GROUP BY project_id
) AS r USING (scope_id)
ORDER BY scope_id

-- name: Built
-- What the build $1 is, and what its project's counter says of the files of builds.
SELECT b.status, coalesce(c.size, 0)::text, coalesce(c.items, 0)::text
FROM casq.builds AS b
LEFT JOIN casq.statistics AS c ON c.kind = 'build_artifact' AND c.scope_id = b.project_id::text
WHERE b.id = $1

-- name: Log
-- What the log of the primary site has come to.
SELECT (SELECT count(*) FROM casq.events), (SELECT count(*) FROM casq.ticks)
