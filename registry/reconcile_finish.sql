UPDATE casq.reconcile_runs SET finished_at = clock_timestamp(), waiting = NULL
WHERE id = $1 AND process = $2 AND finished_at IS NULL
