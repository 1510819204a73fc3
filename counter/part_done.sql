-- A recount in parts ($1) is over when its last part is. It has been of all scopes:
-- that makes its kind complete, if it is still the same table.
WITH over AS (
    UPDATE casq.scans AS w
    SET finished_at = clock_timestamp(), scanned_at = clock_timestamp(), flush_job = $2, host = p.host, tick = p.tick,
        life = p.life, mark = p.mark, scanned_rows = (SELECT sum(o.scanned_rows) FROM casq.scans AS o WHERE o.part_of = w.id)
    FROM (SELECT * FROM casq.scans WHERE part_of = $1 ORDER BY id DESC LIMIT 1) AS p
    WHERE w.id = $1 AND w.in_parts AND w.finished_at IS NULL
      AND NOT EXISTS (SELECT FROM casq.scans AS o WHERE o.part_of = w.id AND o.finished_at IS NULL)
    RETURNING w.*
), whole AS (
    UPDATE casq.refreshes AS r
    SET state = 'done', finalizing_at = clock_timestamp(), finished_at = clock_timestamp()
    FROM over WHERE r.scan = over.id AND r.finished_at IS NULL
    RETURNING over.kind, over.generation, over.compare
)
UPDATE casq.counter_kinds AS k SET complete = true
FROM whole AS w
WHERE k.kind = w.kind AND k.generation = w.generation AND NOT w.compare
