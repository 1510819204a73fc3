-- Splits kind $3 off from run $1 of process $2: a run of its own begins anew with
-- it, does all that this one was to do for it, and waits for $5 because of $4. One
-- that was split off for the same, and has not ended, is set back to its beginning
-- instead: its progress is its fence. A dry one is not tried again. No row when the run is another's by now.
WITH mine AS (
    SELECT * FROM casq.reconcile_runs AS r WHERE r.id = $1 AND r.process = $2 AND r.finished_at IS NULL
), again AS (
    UPDATE casq.reconcile_runs AS r
    SET phase = 'things', at_kind = NULL, after_key = NULL, requested_at = greatest(r.requested_at, m.requested_at),
        waiting = $4, not_before = clock_timestamp() + $5::interval
    FROM mine AS m
    WHERE r.part_of IS NOT NULL AND r.kind = $3 AND r.finished_at IS NULL
      AND (r.reason, r.dry_run, r.beyond_life, r.beyond_tick, r.at_life, r.at_tick, r.walk, r.remove_orphans, r.lost_since, r.allow_remove)
          IS NOT DISTINCT FROM
          (m.reason, m.dry_run, m.beyond_life, m.beyond_tick, m.at_life, m.at_tick, m.walk, m.remove_orphans, m.lost_since, m.allow_remove)
    RETURNING r.id
), part AS (
    INSERT INTO casq.reconcile_runs (part_of, kind, reason, dry_run, beyond_life, beyond_tick, at_life, at_tick,
        walk, remove_orphans, lost_since, allow_remove, requested_at, waiting, not_before, finished_at)
    SELECT m.id, $3, m.reason, m.dry_run, m.beyond_life, m.beyond_tick, m.at_life, m.at_tick,
           m.walk, m.remove_orphans, m.lost_since, m.allow_remove, m.requested_at, $4, clock_timestamp() + $5::interval,
           CASE WHEN m.dry_run THEN clock_timestamp() END
    FROM mine AS m
    WHERE NOT EXISTS (SELECT FROM again)
    RETURNING id
)
SELECT id FROM again UNION ALL SELECT id FROM part ORDER BY id LIMIT 1
