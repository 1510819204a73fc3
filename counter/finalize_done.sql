-- The scan $1 is over. One of all scopes makes its kind complete: what it has not
-- found has had no rows.
WITH over AS (
    UPDATE casq.scans SET finished_at = clock_timestamp() WHERE id = $1 RETURNING *
), whole AS (
    UPDATE casq.refreshes AS r SET state = 'done', finished_at = clock_timestamp()
    FROM over WHERE r.scan = over.id AND r.scope_id IS NULL AND r.state = 'finalizing'
    RETURNING over.kind, over.generation, over.compare
)
UPDATE casq.counter_kinds AS k SET complete = true
FROM whole AS w
WHERE k.kind = w.kind AND k.generation = w.generation AND NOT w.compare
