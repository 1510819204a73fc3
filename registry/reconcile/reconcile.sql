-- name: Due
-- Is it time for a full run ($1 after the newest one)? Not while one is under way.
SELECT NOT EXISTS (
    SELECT FROM casq.reconcile_runs
    WHERE kind IS NULL AND NOT dry_run AND beyond_tick IS NULL
      AND (finished_at IS NULL OR requested_at > clock_timestamp() - $1::interval)
)

-- name: Schedule
-- Asks for a full run if it is time, under a lock that was taken by a statement
-- before this one. The very first run waits for the log to be read. It walks
-- through the targets if no run has done so for $2 (0: no scheduled run does).
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

-- name: Part
-- Splits kind $3 off from run $1 of process $2: a run of its own begins anew with
-- it, does all that this one was to do for it, and waits for $5 because of $4. One
-- that was split off for the same, and has not ended, is set back to its beginning
-- instead: its progress is its fence. A dry one is not tried again. No row when another
-- process has taken the run over.
WITH mine AS (
    SELECT * FROM casq.reconcile_runs AS r WHERE r.id = $1 AND r.process = $2 AND r.finished_at IS NULL
), again AS (
    UPDATE casq.reconcile_runs AS r
    SET phase = 'resources', at_kind = NULL, after_key = NULL, requested_at = greatest(r.requested_at, m.requested_at),
        waiting = $4, not_before = clock_timestamp() + $5::interval
    FROM mine AS m
    WHERE r.part_of IS NOT NULL AND r.kind = $3 AND r.finished_at IS NULL
      AND (r.reason, r.dry_run, r.beyond_timeline, r.beyond_tick, r.at_timeline, r.at_tick, r.walk, r.remove_orphans, r.lost_since, r.allow_remove)
          IS NOT DISTINCT FROM
          (m.reason, m.dry_run, m.beyond_timeline, m.beyond_tick, m.at_timeline, m.at_tick, m.walk, m.remove_orphans, m.lost_since, m.allow_remove)
    RETURNING r.id
), part AS (
    INSERT INTO casq.reconcile_runs (part_of, kind, reason, dry_run, beyond_timeline, beyond_tick, at_timeline, at_tick,
        walk, remove_orphans, lost_since, allow_remove, requested_at, waiting, not_before, finished_at)
    SELECT m.id, $3, m.reason, m.dry_run, m.beyond_timeline, m.beyond_tick, m.at_timeline, m.at_tick,
           m.walk, m.remove_orphans, m.lost_since, m.allow_remove, m.requested_at, $4, clock_timestamp() + $5::interval,
           CASE WHEN m.dry_run THEN clock_timestamp() END
    FROM mine AS m
    WHERE NOT EXISTS (SELECT FROM again)
    RETURNING id
)
SELECT id FROM again UNION ALL SELECT id FROM part ORDER BY id LIMIT 1

-- name: Take
-- Takes the oldest run that no live process has, for process $1, which must be
-- alive itself. A run that it has already it takes again: the answer may have been lost.
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
RETURNING r.id, coalesce(r.kind, ''), r.reason, r.dry_run, r.beyond_timeline, r.beyond_tick, r.at_timeline, r.at_tick,
          r.phase, r.at_kind, r.after_key, r.requested_at, r.walk, r.remove_orphans, r.lost_since, r.allow_remove

-- name: Move
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
INSERT INTO casq.reconcile_counts AS c (run, kind, unlisted, examined, created, adopted, changed, removed, requeued, checks, late, staging_removed,
    held_back, orphans, orphans_removed)
SELECT id, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22 FROM moved
ON CONFLICT (run, kind) DO UPDATE
SET unlisted = excluded.unlisted OR c.unlisted, examined = c.examined + excluded.examined,
    created = c.created + excluded.created, adopted = c.adopted + excluded.adopted,
    changed = c.changed + excluded.changed, removed = c.removed + excluded.removed,
    requeued = c.requeued + excluded.requeued, checks = c.checks + excluded.checks,
    late = c.late + excluded.late, staging_removed = c.staging_removed + excluded.staging_removed,
    held_back = c.held_back + excluded.held_back, orphans = c.orphans + excluded.orphans,
    orphans_removed = c.orphans_removed + excluded.orphans_removed

-- name: GiveBack
-- Gives run $1 of process $2 back, because of $3, for at least $4; where an operator
-- has to mend something first ($5), for longer the older the run is.
UPDATE casq.reconcile_runs
SET process = NULL, waiting = $3,
    not_before = clock_timestamp() + greatest($4::interval,
        CASE WHEN $5 THEN least((clock_timestamp() - requested_at) / 4, interval '15 minutes') END)
WHERE id = $1 AND process = $2 AND finished_at IS NULL

-- name: Finish
UPDATE casq.reconcile_runs SET finished_at = clock_timestamp(), waiting = NULL
WHERE id = $1 AND process = $2 AND finished_at IS NULL

-- name: Totals
SELECT coalesce(sum(examined), 0)::bigint, coalesce(sum(created), 0)::bigint, coalesce(sum(adopted), 0)::bigint,
       coalesce(sum(changed), 0)::bigint, coalesce(sum(removed), 0)::bigint, coalesce(sum(requeued), 0)::bigint,
       coalesce(sum(checks), 0)::bigint, coalesce(sum(late), 0)::bigint, coalesce(sum(staging_removed), 0)::bigint,
       coalesce(sum(held_back), 0)::bigint, coalesce(sum(orphans), 0)::bigint, coalesce(sum(orphans_removed), 0)::bigint
FROM casq.reconcile_counts WHERE run = $1

-- name: SelectionRows
-- The newest tick with which a row of the kind ($1) came.
SELECT r.timeline, r.tick FROM casq.registry AS r
WHERE r.kind = $1
ORDER BY r.timeline DESC, r.tick DESC
LIMIT 1

-- name: Claims
-- A page of the registry beyond (kind $1, key $2), $3 rows at most: the claims
-- that it has, and its last row.
WITH page AS MATERIALIZED (
    SELECT r.kind, r.resource_id, r.claim FROM casq.registry AS r
    WHERE (r.kind, r.resource_id) > ($1, $2)
    ORDER BY r.kind, r.resource_id
    LIMIT $3
)
SELECT last.kind, last.resource_id, ARRAY(SELECT page.claim::text FROM page WHERE page.claim IS NOT NULL)
FROM page AS last
ORDER BY last.kind DESC, last.resource_id DESC
LIMIT 1
