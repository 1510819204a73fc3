-- A reconcile run ($1) and what it has found, by kind; and $2 of what it has found
-- to be nobody's; and the kinds that have a run of their own, as they could not be
-- compared, while these have not ended.
SELECT r.state, r.phase, coalesce(r.waiting, ''), coalesce(json_agg(json_build_object(
           'kind', r.kind, 'unlisted', r.unlisted, 'looked_at', r.looked_at, 'created', r.created, 'adopted', r.adopted,
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
