-- Gives run $1 of process $2 back, because of $3, for at least $4; where it waits
-- for somebody to mend something ($5), for longer the older it is.
UPDATE casq.reconcile_runs
SET process = NULL, waiting = $3,
    not_before = clock_timestamp() + greatest($4::interval,
        CASE WHEN $5 THEN least((clock_timestamp() - requested_at) / 4, interval '15 minutes') END)
WHERE id = $1 AND process = $2 AND finished_at IS NULL
