-- Strikes a shard ($2) off the scan $1. Was it the last one? And does a comparison
-- differ?
UPDATE casq.scans AS s
SET shards_left = array_remove(s.shards_left, $2)
WHERE s.id = $1
RETURNING cardinality(s.shards_left) = 0,
          s.compare AND EXISTS (SELECT FROM casq.refreshes AS r
                                WHERE r.scan = s.id AND r.shard = $2 AND (r.drift_size <> 0 OR r.drift_items <> 0))
