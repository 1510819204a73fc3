UPDATE casq.reconcile_runs SET process = NULL, waiting = $3, not_before = clock_timestamp() + $4::interval
WHERE id = $1 AND process = $2 AND finished_at IS NULL
