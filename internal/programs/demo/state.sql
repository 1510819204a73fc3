-- What a site that follows has done and has left to do: things per kind and
-- status, where its cursor stands, and jobs that are about to run.
SELECT coalesce((SELECT tick FROM casq.cursors WHERE name = 'registry' AND to_tick = 0), -1),
       coalesce((SELECT tick || '/' || page FROM casq.cursors WHERE name = 'registry'), 'none'),
       coalesce((SELECT jsonb_object_agg(kind, statuses)
                 FROM (SELECT kind, jsonb_object_agg(status, count) AS statuses
                       FROM casq.registry_summary GROUP BY kind) AS s), '{}'),
       (SELECT count(*) FROM river.river_job WHERE state IN ('available', 'running', 'pending'))
