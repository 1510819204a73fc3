-- Moves run $1 of process $2 on from ($3, $4, $5) to ($6, $7, $8: phase, kind,
-- last key), and adds what was found of kind $9. The fence, and the reason why a
-- page that is done twice is counted once: the last statement of the transaction
-- that has the page's effects, it touches no row when another has taken over, or
-- when the page was done already.
WITH moved AS (
    UPDATE casq.reconcile_runs AS r
    SET phase = $6, at_kind = $7, after_key = $8, waiting = NULL
    WHERE r.id = $1 AND r.process = $2 AND r.finished_at IS NULL
      AND (r.phase, r.at_kind, r.after_key) IS NOT DISTINCT FROM ($3::text, $4::text, $5::text)
    RETURNING r.id
)
INSERT INTO casq.reconcile_counts AS c (run, kind, unlisted, looked_at, created, adopted, changed, removed, requeued, checks, late, staging_removed,
    held_back, orphans, orphans_removed)
SELECT id, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22 FROM moved
ON CONFLICT (run, kind) DO UPDATE
SET unlisted = excluded.unlisted OR c.unlisted, looked_at = c.looked_at + excluded.looked_at,
    created = c.created + excluded.created, adopted = c.adopted + excluded.adopted,
    changed = c.changed + excluded.changed, removed = c.removed + excluded.removed,
    requeued = c.requeued + excluded.requeued, checks = c.checks + excluded.checks,
    late = c.late + excluded.late, staging_removed = c.staging_removed + excluded.staging_removed,
    held_back = c.held_back + excluded.held_back, orphans = c.orphans + excluded.orphans,
    orphans_removed = c.orphans_removed + excluded.orphans_removed
