-- Values of a scan ($1); only those that differed, when $2. At most $3.
SELECT scope_id, old_size::text, new_size::text, old_items, new_items
FROM casq.refreshes
WHERE (scan = $1 OR scan IN (SELECT p.id FROM casq.scans AS p WHERE p.part_of = $1)) AND state = 'done' AND scope_id IS NOT NULL
  AND (NOT $2 OR drift_size <> 0 OR drift_items <> 0)
ORDER BY scope_id
LIMIT $3
