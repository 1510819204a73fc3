-- Looks at the next counters beyond the scope $3, at most $4, of the recount $1, and
-- gives the part $2 those that no part has counted: the table had no rows for
-- them. How many were looked at, how many were given, and the last one looked at.
WITH next AS MATERIALIZED (
    SELECT c.kind, c.scope_id, c.shard
    FROM casq.scans AS w
    JOIN casq.counters AS c ON c.kind = w.kind
    WHERE w.id = $1 AND ($3::text IS NULL OR c.scope_id > $3)
    ORDER BY c.scope_id
    LIMIT $4
), asked AS (
    INSERT INTO casq.refreshes (scan, kind, scope_id, shard)
    SELECT $2, kind, scope_id, shard FROM next
    WHERE NOT EXISTS (
        SELECT FROM casq.scans AS p
        JOIN casq.refreshes AS r ON r.scan = p.id AND r.scope_id = next.scope_id
        WHERE p.part_of = $1)
    ORDER BY scope_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM next), (SELECT count(*) FROM asked), (SELECT max(scope_id) FROM next)
