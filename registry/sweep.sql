-- Hands on the rows ($1, $2), which are locked already, that somebody dead had
-- in hand: claims of processes that are not alive are given back; a row that is
-- not claimed lost a job ($4; NULL: none is known) before it claimed, unless
-- another sweeper was here with this job, or a newer one of the row. Jobs get
-- their ids under the row's lock, so what came later has a higher one. Rows
-- that a live process has are left alone: see sweep_ask.sql. A version whose runs keep dying is
-- failed at the limit ($3): not handed on for ever. Attempts that found nothing
-- at the source are no such runs; they end without limit. A kind that is not defined
-- any more has no queue for another job, and keeps no other from one.
WITH old AS MATERIALIZED (
    SELECT r.kind, r.resource_id, greatest(r.swept_job, r.claim_job, w.job) AS swept_job,
           r.missing_since IS NOT NULL AND r.failed_version = r.version AS missing
    FROM unnest($1::text[], $2::text[], $4::bigint[]) AS w (kind, resource_id, job)
    CROSS JOIN LATERAL (
        SELECT * FROM casq.registry AS r
        WHERE r.kind = w.kind AND r.resource_id = w.resource_id
          AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
          AND (r.claim IS NOT NULL OR w.job > coalesce(r.swept_job, 0))
    ) AS r
)
UPDATE casq.registry AS r
SET claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = coalesce(r.claim, r.last_claim),
    asked = false,
    swept_job = old.swept_job,
    attempts = CASE WHEN old.missing AND r.claim IS NOT NULL THEN 1 ELSE r.attempts END,
    missing_since = CASE WHEN r.claim IS NULL THEN r.missing_since END,
    failed_version = CASE WHEN r.attempts >= $3 AND NOT old.missing THEN r.version ELSE r.failed_version END,
    last_error = CASE WHEN r.attempts >= $3 AND NOT old.missing
                      THEN format('the worker died with it in attempt %s, the last one', r.attempts)
                      ELSE r.last_error END,
    retry_at = NULL,
    queued_at = clock_timestamp()
FROM old
WHERE r.kind = old.kind AND r.resource_id = old.resource_id
  AND r.synced_version IS DISTINCT FROM r.version
RETURNING r.kind, r.resource_id, r.version, r.deleted_at IS NOT NULL,
          (r.attempts < $3 OR old.missing) AND EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = r.kind)
