-- Stores a selection ($1 kind, $2 scopes); no row when it is that already.
INSERT INTO casq.selections AS s (kind, scopes)
SELECT $1::text, $2::text[]
WHERE $2::text[] IS NOT NULL OR EXISTS (SELECT FROM casq.selections WHERE kind = $1)
ON CONFLICT (kind) DO UPDATE
SET scopes = excluded.scopes, generation = s.generation + 1, changed_at = clock_timestamp()
WHERE s.scopes IS DISTINCT FROM excluded.scopes
