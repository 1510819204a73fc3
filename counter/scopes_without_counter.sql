SELECT w.scope_id
FROM unnest($2::text[]) WITH ORDINALITY AS w (scope_id, n)
WHERE NOT EXISTS (SELECT FROM casq.counters AS c WHERE c.kind = $1 AND c.scope_id = w.scope_id)
ORDER BY w.n
