-- The end of a verification that found nothing. Under its own token ($1 to $3)
-- alone: what it has read may be of a version that is not in place any more.
UPDATE casq.registry
SET verified_at = clock_timestamp()
WHERE kind = $1 AND resource_id = $2 AND version = $3 AND synced_version = $3
