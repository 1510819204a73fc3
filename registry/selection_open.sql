-- The run that applies the selection of a kind ($1), while it has not ended; 0.
SELECT coalesce(max(r.id), 0) FROM casq.reconcile_runs AS r
WHERE r.kind = $1 AND r.reason = 'selected' AND r.finished_at IS NULL
