-- name: Scopes
-- A parent's scopes, to be fetched page by page. They are found once; where they
-- do not fit into work_mem, the server keeps them in a file.
DECLARE casq_scopes NO SCROLL CURSOR WITH HOLD FOR SELECT scope FROM casq.scopes_of($1, $2) AS scope

-- name: Flushed
-- The sums of scopes ($3, each of the shard in $2) by shard, and what the shard
-- stands at, at one moment.
SELECT s.shard, coalesce(sum(c.size), 0)::text, coalesce(sum(c.items), 0)::bigint,
       bool_and(coalesce(k.complete OR c.generation = k.generation, false)), s.moved_at,
       s.system_identifier, s.timeline, s.timeline_id, s.tick, s.nonce, s.to_tick, s.to_nonce, s.page
FROM unnest($2::integer[], $3::text[]) AS w (shard, scope_id)
JOIN casq.counter_shards AS s ON s.shard = w.shard
LEFT JOIN casq.counters AS c ON c.kind = $1 AND c.scope_id = w.scope_id
LEFT JOIN casq.counter_kinds AS k ON k.kind = $1
GROUP BY s.shard
