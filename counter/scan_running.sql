SELECT scope_id FROM casq.refreshes
WHERE scan = $1 AND scope_id IS NOT NULL AND finished_at IS NULL
ORDER BY scope_id
