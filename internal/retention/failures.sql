-- Events that could not be applied and were replayed long ago ($1), at most $2.
-- Those that were not replayed stay until somebody has seen to them.
DELETE FROM casq.event_failures WHERE (cursor, life, event_id) IN (
    SELECT cursor, life, event_id FROM casq.event_failures
    WHERE replayed_at < clock_timestamp() - $1::interval
    ORDER BY cursor, life, event_id LIMIT $2
    FOR UPDATE SKIP LOCKED
)
