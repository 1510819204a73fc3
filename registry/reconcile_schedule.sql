-- Asks for a full run if it is time, under a lock that was taken by a statement
-- before this one. The very first one waits for the log to be read.
INSERT INTO casq.reconcile_runs (reason, not_before)
SELECT 'scheduled', CASE WHEN EXISTS (SELECT FROM casq.reconcile_runs) THEN NULL
                         ELSE clock_timestamp() + least($1::interval, interval '5 minutes') END
WHERE NOT EXISTS (
    SELECT FROM casq.reconcile_runs
    WHERE kind IS NULL AND NOT dry_run AND beyond_tick IS NULL
      AND (finished_at IS NULL OR requested_at > clock_timestamp() - $1::interval)
)
