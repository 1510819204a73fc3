-- Notes the keys ($3) of what run $1 has found in place of kind $2 and of no row,
-- up to $4 in all.
INSERT INTO casq.reconcile_orphans (run, kind, resource_id)
SELECT $1, $2, w.key FROM unnest($3::text[]) WITH ORDINALITY AS w (key, n)
ORDER BY w.n
LIMIT greatest(0, $4 - (SELECT count(*) FROM casq.reconcile_orphans AS o WHERE o.run = $1 AND o.kind = $2))
ON CONFLICT DO NOTHING
