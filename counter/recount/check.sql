-- name: Sample
-- Some exact counters ($2 of each kind) of the kinds that have been counted for
-- the interval $1 and nothing was compared of, out of a random shard.
SELECT k.kind, c.scope_id
FROM casq.counter_kinds AS k
JOIN casq.tracked AS t ON t.kind = k.kind AND t.scope_column IS NOT NULL
CROSS JOIN LATERAL (
    SELECT c.scope_id FROM casq.counters AS c
    WHERE c.kind = k.kind AND (k.complete OR c.generation = k.generation)
      AND c.shard = (SELECT floor(random() * count(*))::integer FROM casq.counter_shards)
    ORDER BY random() LIMIT $2
) AS c
WHERE k.since < clock_timestamp() - $1::interval
  AND NOT EXISTS (SELECT FROM casq.scans AS s
                  WHERE s.kind = k.kind AND s.compare AND s.requested_at > clock_timestamp() - $1::interval)
