-- What is selected of each kind ($1; NULL: all), what there is of it here, and the
-- run that applies a change (0: none is left to do).
SELECT k.kind, s.scopes, s.changed_at,
       (SELECT count(*) FROM casq.registry AS r WHERE r.kind = k.kind AND r.deleted_at IS NULL),
       (SELECT coalesce(max(q.id), 0) FROM casq.reconcile_runs AS q
        WHERE q.kind = k.kind AND q.reason = 'selected' AND q.finished_at IS NULL)
FROM casq.kinds AS k
LEFT JOIN casq.selections AS s USING (kind)
WHERE $1::text IS NULL OR k.kind = $1
ORDER BY k.kind
