-- A scope without rows has the sums zero.
UPDATE casq.refreshes
SET state = 'finalizing', finalizing_at = clock_timestamp(), finalize_job = $2,
    reason = NULL,
    scanned_size = CASE WHEN scope_id IS NOT NULL THEN coalesce(scanned_size, 0) END,
    scanned_items = CASE WHEN scope_id IS NOT NULL THEN coalesce(scanned_items, 0) END
WHERE scan = $1 AND state = 'running'
