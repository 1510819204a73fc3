-- A reconcile run ($1) and what it has found, by kind.
SELECT r.state, r.phase, coalesce(r.waiting, ''), coalesce(json_agg(json_build_object(
           'kind', r.kind, 'unlisted', r.unlisted, 'looked_at', r.looked_at, 'created', r.created, 'adopted', r.adopted,
           'changed', r.changed, 'removed', r.removed, 'requeued', r.requeued, 'checks', r.checks, 'late', r.late,
           'staging_removed', r.staging_removed) ORDER BY r.kind) FILTER (WHERE r.kind IS NOT NULL), '[]')
FROM casq.reconcile_report AS r
WHERE r.run = $1
GROUP BY r.state, r.phase, r.waiting
