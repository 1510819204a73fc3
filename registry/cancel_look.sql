-- Locks a thing's row ($1, $2), and tells what is under way for it.
SELECT r.version, r.synced_version IS NOT DISTINCT FROM r.version, r.claim IS NOT NULL,
       coalesce(r.claim_job, 0), coalesce(p.host, ''), coalesce(p.pid, 0), p.id IS NOT NULL
FROM casq.registry AS r
LEFT JOIN casq.processes AS p ON p.id = r.claim_process AND p.dead_at IS NULL
WHERE r.kind = $1 AND r.resource_id = $2
FOR NO KEY UPDATE OF r
