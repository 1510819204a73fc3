-- The run $2 of the scan $1 has swapped all its shards in. One of all scopes makes
-- its kind complete: what it has not found has had no rows. $3 is the job that
-- flushes.
WITH over AS (
    UPDATE casq.scans SET finished_at = clock_timestamp(), flush_job = $3
    WHERE id = $1 AND token = $2 AND finished_at IS NULL
    RETURNING *
), whole AS (
    UPDATE casq.refreshes AS r SET state = 'done', finished_at = clock_timestamp()
    FROM over WHERE r.scan = over.id AND r.scope_id IS NULL AND r.state = 'finalizing'
    RETURNING over.kind, over.generation, over.compare
), complete AS (
    UPDATE casq.counter_kinds AS k SET complete = true
    FROM whole AS w
    WHERE k.kind = w.kind AND k.generation = w.generation AND NOT w.compare
)
SELECT part_of, part, last_scope, scope_order FROM over
