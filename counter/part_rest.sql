-- Looks at the next counters beyond the scope $3, at most $4, of the recount $1, and
-- gives the part $2 those that no part has counted: the table had no rows for
-- them. How many were looked at, how many were given, and the last one looked at.
-- Most counters name the recount that they have their value of, except in a
-- comparison. Among 200 parts, 5,000 counters take 0.1 s by that, and 1 s
-- without.
WITH next AS MATERIALIZED (
    SELECT c.kind, c.scope_id, c.shard, c.refresh
    FROM casq.counters AS c
    -- In a form that the index is read from $3 on by, also by a generic plan.
    WHERE c.kind = (SELECT kind FROM casq.scans WHERE id = $1)
      AND c.scope_id >= coalesce($3::text, '') AND c.scope_id IS DISTINCT FROM $3
    ORDER BY c.scope_id
    LIMIT $4
), left_over AS MATERIALIZED (
    SELECT next.* FROM next
    WHERE (SELECT p.part_of FROM casq.refreshes AS r JOIN casq.scans AS p ON p.id = r.scan
           WHERE r.id = next.refresh) IS DISTINCT FROM $1
), asked AS (
    INSERT INTO casq.refreshes (scan, kind, scope_id, shard)
    SELECT $2, kind, scope_id, shard FROM left_over
    WHERE NOT EXISTS (
        SELECT FROM casq.scans AS p
        JOIN casq.refreshes AS r ON r.scan = p.id AND r.scope_id = left_over.scope_id
        WHERE p.part_of = $1)
    ORDER BY scope_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM next), (SELECT count(*) FROM asked), (SELECT max(scope_id) FROM next)
