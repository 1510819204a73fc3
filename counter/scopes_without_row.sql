SELECT w.scope_id
FROM unnest($2::text[]) WITH ORDINALITY AS w (scope_id, n)
WHERE NOT casq.has_scope($1, w.scope_id)
ORDER BY w.n
