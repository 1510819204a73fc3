-- name: Report
-- A reconcile run ($1) and what it has found, by kind; and $2 of what it has found
-- to be nobody's; and the kinds that have a run of their own, as they could not be
-- compared, while these have not ended.
SELECT r.state, r.phase, coalesce(r.waiting, ''), coalesce(json_agg(json_build_object(
           'kind', r.kind, 'unlisted', r.unlisted, 'examined', r.examined, 'created', r.created, 'adopted', r.adopted,
           'changed', r.changed, 'removed', r.removed, 'requeued', r.requeued, 'checks', r.checks, 'late', r.late,
           'staging_removed', r.staging_removed, 'held_back', r.held_back, 'orphans', r.orphans,
           'orphans_removed', r.orphans_removed) ORDER BY r.kind) FILTER (WHERE r.kind IS NOT NULL), '[]'),
       (SELECT coalesce(json_agg(o), '[]') FROM (
            SELECT o.kind, o.resource_id FROM casq.reconcile_orphans AS o
            WHERE o.run = $1 ORDER BY o.kind, o.resource_id LIMIT $2) AS o),
       (SELECT coalesce(json_agg(p ORDER BY p.kind), '[]') FROM (
            SELECT q.id AS run, q.kind, coalesce(q.waiting, '') AS reason FROM casq.reconcile_runs AS q
            WHERE q.part_of = $1 AND (q.finished_at IS NULL OR q.dry_run AND q.waiting IS NOT NULL)) AS p)
FROM casq.reconcile_report AS r
WHERE r.run = $1
GROUP BY r.state, r.phase, r.waiting

-- name: Kinds
-- The kinds of this site, where they are, and what there is of each: rows that are
-- wanted, and those that something is still to be done about.
SELECT k.kind, k.transfer, k.queue, k.prefix, k.source_prefix, k.missing,
       extract(epoch FROM k.quiet)::float8, extract(epoch FROM k.probe)::float8, t.name,
       (SELECT count(*) FROM casq.registry AS r WHERE r.kind = k.kind AND r.deleted_at IS NULL),
       (SELECT count(*) FROM casq.registry AS r WHERE r.kind = k.kind AND r.synced_version IS DISTINCT FROM r.version)
FROM casq.kinds AS k
LEFT JOIN casq.tracked AS t USING (kind)
ORDER BY k.kind

-- name: RefreshState
-- How far the recounts of a scan ($1) are. Those of all scopes have a row for all
-- of them, which is open until they are over; they may be those of its parts.
SELECT count(*) FILTER (WHERE r.finished_at IS NULL),
       count(*) FILTER (WHERE r.scope_id IS NOT NULL),
       count(*) FILTER (WHERE r.state = 'done' AND r.scope_id IS NOT NULL),
       count(*) FILTER (WHERE r.state IN ('failed', 'cancelled')),
       count(*) FILTER (WHERE r.drift_size <> 0 OR r.drift_items <> 0),
       coalesce(min(r.reason), ''), coalesce(min(s.host), ''), coalesce(min(s.scanned_rows), 0), coalesce(min(s.tick), 0),
       coalesce(extract(epoch FROM max(r.finished_at) - min(r.requested_at)), 0)::float8
FROM casq.refreshes AS r
JOIN casq.scans AS s ON s.id = $1
WHERE r.scan = $1 OR r.scan IN (SELECT p.id FROM casq.scans AS p WHERE p.part_of = $1)

-- name: RefreshDrift
-- Values of a scan ($1); only those that differed, when $2. At most $3.
SELECT scope_id, old_size::text, new_size::text, old_items, new_items
FROM casq.refreshes
WHERE (scan = $1 OR scan IN (SELECT p.id FROM casq.scans AS p WHERE p.part_of = $1)) AND state = 'done' AND scope_id IS NOT NULL
  AND (NOT $2 OR drift_size <> 0 OR drift_items <> 0)
ORDER BY scope_id
LIMIT $3

-- name: Failures
-- The open failures, by cursor and kind, and those of a kind ($1) and a key ($2)
-- alone, unless these are NULL.
SELECT f.cursor, f.kind, count(*), min(f.failed_at)
FROM casq.event_failures AS f
WHERE f.replayed_at IS NULL AND ($1::text IS NULL OR f.kind = $1) AND ($2::text IS NULL OR f.resource_id = $2)
GROUP BY f.cursor, f.kind
ORDER BY f.cursor, f.kind

-- name: Selection
-- What is selected of each kind ($1; NULL: all), what there is of it here, and the
-- run that applies a change (0: nothing is left to do).
SELECT k.kind, s.scopes, s.changed_at,
       (SELECT count(*) FROM casq.registry AS r WHERE r.kind = k.kind AND r.deleted_at IS NULL),
       (SELECT coalesce(max(q.id), 0) FROM casq.reconcile_runs AS q
        WHERE q.kind = k.kind AND q.reason = 'selected' AND q.finished_at IS NULL)
FROM casq.kinds AS k
LEFT JOIN casq.selections AS s USING (kind)
WHERE $1::text IS NULL OR k.kind = $1
ORDER BY k.kind

-- name: Selecting
-- Puts what a selection of a kind ($1) has changed, and is left to be done, on the
-- list to wait for.
INSERT INTO pg_temp.asked (kind, resource_id, version)
SELECT r.kind, r.resource_id, r.version FROM casq.registry AS r
WHERE r.kind = $1 AND r.synced_version IS DISTINCT FROM r.version
  AND r.queued_at >= (SELECT s.changed_at FROM casq.selections AS s WHERE s.kind = $1)

-- name: Verified
-- What became of the verifications of a kind ($1) that were queued after the job
-- $2 and not after $3: those that have not ended, those that found what they
-- should, those whose resource has another version by now, and those that could not
-- be carried out, of which the first $4 are named.
WITH job AS MATERIALIZED (
    SELECT j.args ->> 'resource_id' AS resource_id, (j.args ->> 'version')::bigint AS version,
           CASE WHEN j.state = 'completed' THEN 'done'
                WHEN j.state IN ('cancelled', 'discarded') THEN 'failed' ELSE 'open' END AS state,
           coalesce(j.errors[array_upper(j.errors, 1)] ->> 'error', 'cancelled') AS error
    FROM river.river_job AS j
    WHERE j.id > $2 AND j.id <= $3 AND j.kind = 'casq_verify' AND j.args ->> 'kind' = $1
)
SELECT count(*) FILTER (WHERE job.state = 'open') AS open,
       count(*) FILTER (WHERE job.state = 'done' AND r.version = job.version) AS same,
       count(*) FILTER (WHERE job.state = 'done' AND r.version IS DISTINCT FROM job.version) AS again,
       count(*) FILTER (WHERE job.state = 'failed') AS failed,
       coalesce((SELECT json_agg(f) FROM (
           SELECT f.resource_id, f.version, f.error FROM job AS f WHERE f.state = 'failed'
           ORDER BY f.resource_id LIMIT $4) AS f), '[]') AS named
FROM job
LEFT JOIN casq.registry AS r ON r.kind = $1 AND r.resource_id = job.resource_id

-- name: Audit
-- The newest $1 requests of operators.
SELECT a.id, a.asked_at, a.role::text, a.actor, a.via, a.origin, a.action, a.touches, a.changed
FROM casq.audit AS a
ORDER BY a.asked_at DESC
LIMIT $1
