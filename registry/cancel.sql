-- name: State
-- Locks a resource's row ($1, $2), and tells what is under way for it.
SELECT r.version, r.synced_version IS NOT DISTINCT FROM r.version, r.claim IS NOT NULL,
       coalesce(r.claim_job, 0), coalesce(p.host, ''), coalesce(p.pid, 0), p.id IS NOT NULL
FROM casq.registry AS r
LEFT JOIN casq.processes AS p ON p.id = r.claim_process AND p.dead_at IS NULL
WHERE r.kind = $1 AND r.resource_id = $2
FOR NO KEY UPDATE OF r

-- name: Cancel
-- Fails the version of a row ($1, $2) that is locked, with a reason ($3). No job is
-- queued when the run that has it ends. With $4, the claim of a dead process is
-- given back here, since the sweep would hand the resource on.
UPDATE casq.registry
SET failed_version = version, last_error = $3, failure_reason = $3, retry_at = NULL, missing_since = NULL, absent = false, asked = false,
    claim = CASE WHEN $4 THEN NULL ELSE claim END,
    claim_process = CASE WHEN $4 THEN NULL ELSE claim_process END,
    claim_job = CASE WHEN $4 THEN NULL ELSE claim_job END,
    last_claim = CASE WHEN $4 THEN claim ELSE last_claim END
WHERE kind = $1 AND resource_id = $2
