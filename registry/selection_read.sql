-- The selections, of one kind ($1; NULL: all).
SELECT s.kind, s.scopes, s.changed_at, s.generation FROM casq.selections AS s
WHERE $1::text IS NULL OR s.kind = $1
