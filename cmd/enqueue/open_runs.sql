-- Reconcile runs that have not ended, and how much they have looked at.
SELECT r.run, coalesce((SELECT a.kind FROM casq.reconcile_runs AS a WHERE a.id = r.run), ''), r.reason, r.dry_run, r.state,
       coalesce(r.waiting, ''), r.requested_at, coalesce(sum(r.looked_at), 0)::bigint
FROM casq.reconcile_report AS r
WHERE r.finished_at IS NULL
GROUP BY r.run, r.reason, r.dry_run, r.state, r.waiting, r.requested_at
ORDER BY r.run
