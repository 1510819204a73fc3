-- A page of a resync: new versions for live or removed-but-not-yet-gone rows
-- of a kind ($1) beyond a key ($2), at most $3 of them; only failed ones when
-- $4. A resync is a new version, also of a thing that is in place: its copy is
-- made again; $5: as of another incarnation, with nothing of what is there. Returns all rows of the page in key order, wanted or not, so
-- that the last one says where to go on.
WITH page AS MATERIALIZED (
    SELECT r.resource_id, r.deleted_at IS NULL OR r.synced_version IS DISTINCT FROM r.version AS unfinished,
           r.failed_version = r.version AND r.synced_version IS DISTINCT FROM r.version AS failed
    FROM casq.registry AS r
    WHERE r.kind = $1 AND r.resource_id > $2
    ORDER BY r.resource_id
    LIMIT $3
    FOR NO KEY UPDATE
), raised AS (
    UPDATE casq.registry AS r
    SET version = nextval('casq.registry_version'), queued_at = clock_timestamp(),
        incarnation = incarnation + CASE WHEN $5 THEN 1 ELSE 0 END,
        attempts = 0, last_error = NULL, retry_at = NULL
    FROM page AS p
    WHERE r.kind = $1 AND r.resource_id = p.resource_id
      AND p.unfinished AND (NOT $4 OR coalesce(p.failed, false))
    RETURNING r.resource_id, r.version, r.deleted_at IS NOT NULL AS deleted
)
SELECT p.resource_id, coalesce(r.version, 0), coalesce(r.deleted, false)
FROM page AS p
LEFT JOIN raised AS r USING (resource_id)
ORDER BY p.resource_id
