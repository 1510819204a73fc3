-- Old reports of reconciles ($1: how long they are kept), at most $2.
DELETE FROM casq.reconcile_runs WHERE id IN (
    SELECT id FROM casq.reconcile_runs
    WHERE finished_at < clock_timestamp() - $1::interval
    ORDER BY id LIMIT $2
    FOR UPDATE SKIP LOCKED
)
