UPDATE casq.scans AS s
SET host = $3, life = $4, tick = $5, mark = $6, xids = $7::text[]::xid8[], scanned_rows = $8, generation = $9,
    scanned_at = clock_timestamp(),
    shards_left = CASE WHEN s.whole THEN ARRAY(SELECT generate_series(0, $10::integer - 1))
                  ELSE ARRAY(SELECT DISTINCT r.shard FROM casq.refreshes AS r
                             WHERE r.scan = s.id AND r.finished_at IS NULL ORDER BY r.shard) END
WHERE s.id = $1 AND s.token = $2 AND s.scanned_at IS NULL
