-- name: Read
-- The counter ($1, $2) of a shard ($3) and what the shard stands at, at one moment.
SELECT coalesce(c.size, 0)::text, coalesce(c.items, 0),
       coalesce(k.complete OR c.generation = k.generation, false), c.kind IS NOT NULL, s.moved_at,
       s.system_identifier, s.timeline, s.timeline_id, s.tick, s.nonce, s.to_tick, s.to_nonce, s.page
FROM casq.counter_shards AS s
LEFT JOIN casq.counters AS c ON c.kind = $1 AND c.scope_id = $2
LEFT JOIN casq.counter_kinds AS k ON k.kind = $1
WHERE s.shard = $3
