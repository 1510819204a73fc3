-- Hands on the rows ($1, $2), which are locked already, that somebody dead had
-- in hand: claims of processes that are not alive are given back; a row that is
-- not claimed lost a job before it claimed. Rows that a live process has are
-- left alone. A version whose runs keep dying is failed at the limit ($3): not
-- handed on for ever.
WITH old AS MATERIALIZED (
    SELECT r.kind, r.resource_id, r.claim
    FROM unnest($1::text[], $2::text[]) AS w (kind, resource_id)
    CROSS JOIN LATERAL (
        SELECT * FROM casq.registry AS r
        WHERE r.kind = w.kind AND r.resource_id = w.resource_id
          AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
    ) AS r
)
UPDATE casq.registry AS r
SET claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = coalesce(r.claim, r.last_claim),
    asked = false,
    failed_version = CASE WHEN r.attempts >= $3 THEN r.version ELSE r.failed_version END,
    last_error = CASE WHEN r.attempts >= $3
                      THEN format('the worker died with it in attempt %s, the last one', r.attempts)
                      ELSE r.last_error END,
    retry_at = NULL,
    queued_at = clock_timestamp()
FROM old
WHERE r.kind = old.kind AND r.resource_id = old.resource_id
  AND r.synced_version IS DISTINCT FROM r.version
RETURNING r.kind, r.resource_id, r.version, r.deleted_at IS NOT NULL, r.attempts < $3
