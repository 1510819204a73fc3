-- A new epoch: batches of earlier holders no longer commit. Of several that
-- have seen the same holder one gets it. It does not know yet how old the log is.
UPDATE casq.cursors
SET epoch = epoch + 1, beat = beat + 1, holder = $2, backend_pid = pg_backend_pid(),
    backend_start = (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())),
    beat_at = clock_timestamp(), caught_up_to = coalesce(caught_up_to, greatest(moved_at, beat_at))
WHERE name = $1 AND epoch = $3
RETURNING epoch, system_identifier, life, life_id, tick, mark, to_tick, to_mark, page
