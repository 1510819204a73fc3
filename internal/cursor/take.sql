-- A new epoch: batches of earlier holders no longer commit. Of several that
-- have seen the same holder one gets it.
UPDATE casq.cursors
SET epoch = epoch + 1, beat = beat + 1, holder = $2, backend_pid = pg_backend_pid(),
    backend_start = (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())),
    beat_at = clock_timestamp()
WHERE name = $1 AND epoch = $3
RETURNING epoch, system_identifier, life, life_id, tick, mark, to_tick, to_mark, page
