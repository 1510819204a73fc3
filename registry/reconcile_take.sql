-- Takes the oldest run that nobody alive has, for process $1, which must be
-- alive itself. Its own it takes again: an answer may have been lost.
UPDATE casq.reconcile_runs AS r
SET process = $1, started_at = coalesce(r.started_at, clock_timestamp()), not_before = NULL
WHERE r.id = (
        SELECT q.id FROM casq.reconcile_runs AS q
        WHERE q.finished_at IS NULL AND (q.not_before IS NULL OR q.not_before <= clock_timestamp())
          AND (q.process IS NULL OR q.process = $1
               OR NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = q.process AND p.dead_at IS NULL))
        ORDER BY q.id LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
  AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = $1 AND p.dead_at IS NULL)
RETURNING r.id, coalesce(r.kind, ''), r.reason, r.dry_run, r.beyond_life, r.beyond_tick, r.at_life, r.at_tick,
          r.phase, r.at_kind, r.after_key, r.requested_at, r.walk, r.remove_orphans, r.lost_since, r.allow_remove
