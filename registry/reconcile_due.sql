-- Is it time for a full run ($1 after the newest one)? Not while one is under way.
SELECT NOT EXISTS (
    SELECT FROM casq.reconcile_runs
    WHERE kind IS NULL AND NOT dry_run AND beyond_tick IS NULL
      AND (finished_at IS NULL OR requested_at > clock_timestamp() - $1::interval)
)
