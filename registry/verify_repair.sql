-- A new version of what a verification found different: a resync of exactly the
-- token ($1 to $3) that it looked at. A version that came meanwhile has a job
-- of its own. Said twice, it finds its own new version and does nothing. Where an
-- update would not mend it ($4) the incarnation rises: until one run has put a fresh
-- copy in place, of whichever version, no run uses what is there.
UPDATE casq.registry
SET version = nextval('casq.registry_version'), queued_at = clock_timestamp(),
    incarnation = incarnation + CASE WHEN $4 THEN 1 ELSE 0 END,
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE kind = $1 AND resource_id = $2 AND version = $3 AND synced_version = $3
RETURNING version, deleted_at IS NOT NULL
