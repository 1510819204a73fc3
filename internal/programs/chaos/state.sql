-- What a site that follows has left to do. $1: its cursors.
SELECT (SELECT CASE WHEN count(*) = cardinality($1::text[]) AND bool_and(to_tick = 0) THEN min(tick) ELSE -1 END
        FROM casq.cursors WHERE name = ANY ($1)),
       (SELECT coalesce(string_agg(name || ' at tick ' || tick || CASE WHEN to_tick > 0 THEN ' to ' || to_tick || '/' || page ELSE '' END
                                   || ' epoch ' || epoch, ', ' ORDER BY name), 'no cursor')
        FROM casq.cursors),
       (SELECT count(*) FROM casq.registry_status WHERE status NOT IN ('synced', 'removed')),
       (SELECT count(*) FROM casq.registry WHERE claim IS NOT NULL),
       (SELECT count(*) FROM river.river_job
        WHERE state IN ('available', 'pending') OR state = 'running' AND NOT metadata ? 'cancel_attempted_at'),
       (SELECT count(*) FROM casq.reconcile_runs
        WHERE finished_at IS NULL AND (reason <> 'scheduled' OR coalesce(not_before <= clock_timestamp(), true))),
       (SELECT coalesce(extract(epoch FROM min(retry_at) FILTER (WHERE retry_at > clock_timestamp()) - clock_timestamp()), 0)::float8
        FROM casq.registry_status WHERE status NOT IN ('synced', 'removed'))
