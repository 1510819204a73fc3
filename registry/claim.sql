-- Claims rows that are locked already ($1 to $5: kind, key, token, claim, job;
-- $6 the process; $7 what cancel.sql writes). A claim that is its own already is
-- one whose answer was lost: it stands, and is not counted again. A version that
-- an operator has cancelled is not begun by a job that was on its way.
UPDATE casq.registry AS r
SET claim = w.claim, claim_process = $6, claim_job = w.job,
    asked = r.claim = w.claim AND r.asked,
    attempts = r.attempts + CASE WHEN r.claim = w.claim THEN 0 ELSE 1 END
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[])
     AS w (kind, resource_id, version, claim, job)
WHERE r.kind = w.kind AND r.resource_id = w.resource_id
  AND r.version = w.version
  AND r.synced_version IS DISTINCT FROM r.version
  AND (r.failed_version = r.version AND r.retry_at IS NULL AND r.last_error = $7) IS NOT TRUE
  AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = $6 AND p.dead_at IS NULL)
  AND (r.claim IS NULL OR r.claim = w.claim
       OR NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL))
RETURNING r.claim, r.payload, r.deleted_at IS NOT NULL, r.incarnation,
          -- Without a result of this incarnation: what is in place, if anything,
          -- may be an earlier one's, also when the run that put it there died
          -- before it said so. Where the source has lost a life, and home with it,
          -- no row may tell of the earlier one.
          (r.incarnation > 1 OR r.life > 1) AND r.synced_incarnation IS DISTINCT FROM r.incarnation,
          r.synced_version IS NULL,
          r.attempts
