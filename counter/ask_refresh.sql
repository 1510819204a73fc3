WITH asked AS (
    INSERT INTO casq.refreshes (scan, kind, scope_id, shard)
    SELECT $1, $2, w.scope_id, w.shard
    FROM unnest($3::text[], $4::integer[]) WITH ORDINALITY AS w (scope_id, shard, n)
    ORDER BY w.n
    RETURNING id
)
SELECT id FROM asked ORDER BY id
