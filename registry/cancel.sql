-- Gives a version up ($1, $2) whose row is locked, with a reason ($3). Nobody is
-- asked again when the run that has it ends. The claim of a dead process ($4) is
-- given back here, since the sweep would hand the thing on.
UPDATE casq.registry
SET failed_version = version, last_error = $3, retry_at = NULL, missing_since = NULL, asked = false,
    claim = CASE WHEN $4 THEN NULL ELSE claim END,
    claim_process = CASE WHEN $4 THEN NULL ELSE claim_process END,
    claim_job = CASE WHEN $4 THEN NULL ELSE claim_job END,
    last_claim = CASE WHEN $4 THEN claim ELSE last_claim END
WHERE kind = $1 AND resource_id = $2
