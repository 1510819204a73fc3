UPDATE casq.registry
SET version = nextval('casq.registry_version'), queued_at = clock_timestamp(),
    incarnation = incarnation + CASE WHEN $3 THEN 1 ELSE 0 END,
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE kind = $1 AND resource_id = $2
RETURNING version, deleted_at IS NOT NULL
