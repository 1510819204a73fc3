-- Gives the claim ($1 to $4: kind, key, token, claim) back after the database
-- refused what its run had to say, with the refusal ($5) for a reason, and
-- nothing in it that can be refused again. A newer version is left pending: the
-- next reconcile finds that it has no job.
UPDATE casq.registry AS r
SET claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = r.claim, asked = false,
    failed_version = CASE WHEN r.version = $3 THEN r.version ELSE r.failed_version END,
    last_error = CASE WHEN r.version = $3 THEN $5 ELSE r.last_error END,
    retry_at = CASE WHEN r.version = $3 THEN $6 ELSE r.retry_at END,
    missing_since = CASE WHEN r.version = $3 THEN NULL ELSE r.missing_since END
WHERE r.kind = $1 AND r.resource_id = $2 AND r.claim = $4
