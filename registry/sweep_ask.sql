-- Asks the live runs that have the rows ($1, $2), which are locked already, in
-- the name of the dead jobs ($3) that would have done so. Such a run may be of a
-- job older than one that was swept already: if it failed, and then died with
-- its retry, nobody else would go on.
UPDATE casq.registry AS r
SET asked = true, swept_job = w.job
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS w (kind, resource_id, job)
WHERE r.kind = w.kind AND r.resource_id = w.resource_id
  AND w.job > coalesce(r.swept_job, 0)
  AND r.synced_version IS DISTINCT FROM r.version
  AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
