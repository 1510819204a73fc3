-- Adds to counters of a shard ($1) that is locked: kinds $2, scopes $3, limbs $4
-- and bytes below a limb $5, items $6; $7 is how many bytes a limb has.
INSERT INTO casq.counters AS c (kind, scope_id, shard, size, items)
SELECT w.kind, w.scope_id, $1, w.high::numeric * $7 + w.low, w.items
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) AS w (kind, scope_id, high, low, items)
ON CONFLICT (kind, scope_id) DO UPDATE
SET size = c.size + excluded.size, items = c.items + excluded.items, updated_at = clock_timestamp()
