-- Does a comparison ($1) differ in some shards ($2)?
SELECT s.compare AND EXISTS (
    SELECT FROM casq.refreshes AS r
    WHERE r.scan = s.id AND r.shard = ANY ($2) AND (r.drift_size <> 0 OR r.drift_items <> 0))
FROM casq.scans AS s
WHERE s.id = $1
