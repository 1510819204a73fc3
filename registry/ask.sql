-- Asks the run that has the thing to put a job in the queue when it gives its
-- claim back. The row is locked: either this is seen by that run, or the claim
-- was free a moment ago and claim.sql took it.
UPDATE casq.registry AS r
SET asked = true
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[])
     AS w (kind, resource_id, version, claim)
WHERE r.kind = w.kind AND r.resource_id = w.resource_id
  AND r.version = w.version
  AND r.synced_version IS DISTINCT FROM r.version
  AND r.claim <> w.claim
  AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
RETURNING w.claim
