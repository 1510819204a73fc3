-- Asks for a full run if it is time, under a lock that was taken by a statement
-- before this one. The very first one waits for the log to be read. It walks
-- through the targets if none has done so for $2 (0: none does).
INSERT INTO casq.reconcile_runs (reason, not_before, walk)
SELECT 'scheduled', CASE WHEN EXISTS (SELECT FROM casq.reconcile_runs) THEN NULL
                         ELSE clock_timestamp() + least($1::interval, interval '5 minutes') END,
       $2::interval > interval '0' AND NOT EXISTS (
           SELECT FROM casq.reconcile_runs
           WHERE walk AND kind IS NULL AND NOT dry_run AND requested_at > clock_timestamp() - $2::interval)
WHERE NOT EXISTS (
    SELECT FROM casq.reconcile_runs
    WHERE kind IS NULL AND NOT dry_run AND beyond_tick IS NULL
      AND (finished_at IS NULL OR requested_at > clock_timestamp() - $1::interval)
)
