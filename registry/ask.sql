-- Asks the runs that have the things to put a job in the queue when they give
-- their claims back. The rows are locked: either this is seen by that run, or
-- the claim was free a moment ago and claim.sql took it. Several may ask for
-- one row, and one of them may be the run that has just got it. Nobody asks for a
-- version that an operator has cancelled ($5 is what cancel.sql writes).
WITH w AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[])
        AS w (kind, resource_id, version, claim)
), asked AS (
    UPDATE casq.registry AS r
    SET asked = true
    FROM w
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
      AND r.version = w.version
      AND r.synced_version IS DISTINCT FROM r.version
      AND (r.failed_version = r.version AND r.retry_at IS NULL AND r.last_error = $5) IS NOT TRUE
      AND r.claim <> w.claim
      AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
    RETURNING r.kind, r.resource_id, r.version
)
SELECT w.claim FROM w JOIN asked USING (kind, resource_id, version)
