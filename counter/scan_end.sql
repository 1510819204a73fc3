-- What the run $2 of the scan $1 has seen. A scan of all scopes, or of a part of
-- the table, concerns all shards ($10): those that it found nothing in have to
-- come as far.
UPDATE casq.scans AS s
SET host = $3, life = $4, tick = $5, mark = $6, xids = $7::text[]::xid8[], scanned_rows = $8, generation = $9,
    last_scope = CASE WHEN s.part = 'table' THEN $11 ELSE s.last_scope END,
    scope_order = CASE WHEN s.part = 'table' THEN $12 END,
    scanned_at = clock_timestamp(),
    shards = CASE WHEN s.whole OR s.part = 'table' THEN ARRAY(SELECT generate_series(0, $10::integer - 1))
             ELSE ARRAY(SELECT DISTINCT r.shard FROM casq.refreshes AS r
                        WHERE r.scan = s.id AND r.finished_at IS NULL ORDER BY r.shard) END
WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NULL
