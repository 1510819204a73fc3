-- The end of a verification that found nothing, as of the time ($4) when it began
-- to read: who asks meanwhile is not answered by it. Under its own token ($1 to
-- $3) alone: what it has read may be of a version that is not in place any more.
UPDATE casq.registry
SET verified_at = greatest(verified_at, $4)
WHERE kind = $1 AND resource_id = $2 AND version = $3 AND synced_version = $3
