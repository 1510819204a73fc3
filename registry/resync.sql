-- name: Lock
-- Locks the page of the rows of a kind ($1) beyond a key ($2), $3 of them at most,
-- and returns their keys in order.
SELECT r.resource_id
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id > $2
ORDER BY r.resource_id
LIMIT $3
FOR NO KEY UPDATE

-- name: Resync
-- A page of a resync: new versions for live or removed-but-not-yet-gone rows of a
-- kind ($1) with these keys ($2); only failed ones when $3, and of those only the ones
-- that failed for the reason $5, unless that is NULL; only versions below $6, unless that
-- is 0. A resync is a new
-- version, also of a resource that is in place: its copy is made again; $4: as of
-- another incarnation, with nothing of what is there.
--
-- A row that waits untouched keeps its version and its job, unless $4: no run has begun
-- on it, so that what was asked for before is what would be asked for now. It is
-- returned as waiting. Its job is read, row by row: a row whose job was lost needs
-- another.
--
-- A version that takes the place of one whose job is prompt (1) is prompt, too:
-- an event is not put behind the others of a resync.
--
-- The rows are locked already, by a statement before this one. So this one sees all
-- that was committed with the versions that it meets, their jobs included. A claim
-- needs the lock.
WITH page AS MATERIALIZED (
    SELECT r.resource_id, coalesce(j.prompt, false) AS prompt,
           NOT $4 AND r.claim IS NULL AND r.attempts = 0 AND r.failed_version IS DISTINCT FROM r.version
           AND coalesce(j.untouched, false) AS waits
    FROM unnest($2::text[]) AS w (key)
    CROSS JOIN LATERAL (
        SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key LIMIT 1
    ) AS r
    -- What is in place has no job. OFFSET 0: a row's jobs are found by their index,
    -- and never by a join with all that wait.
    LEFT JOIN LATERAL (
        SELECT bool_or(j.priority = 1) AS prompt, bool_or(j.state = 'available' AND j.attempt = 0) AS untouched
        FROM (
            SELECT * FROM river.river_job AS j
            WHERE j.finalized_at IS NULL
              AND (j.args ->> 'resource_id') COLLATE "C" = r.resource_id AND j.args ->> 'kind' = $1
            OFFSET 0
        ) AS j
        WHERE j.kind IN ('casq_sync', 'casq_remove') AND (j.args ->> 'version')::bigint = r.version
    ) AS j ON r.synced_version IS DISTINCT FROM r.version
    WHERE (r.deleted_at IS NULL OR r.synced_version IS DISTINCT FROM r.version)
      AND (NOT $3 OR r.failed_version = r.version AND NOT r.absent AND r.synced_version IS DISTINCT FROM r.version)
      AND ($5::text IS NULL OR coalesce(r.failure_reason, 'unknown') = $5)
      AND ($6::bigint = 0 OR r.version < $6)
), raised AS (
    UPDATE casq.registry AS r
    SET version = nextval('casq.registry_version'), queued_at = clock_timestamp(),
        incarnation = incarnation + CASE WHEN $4 THEN 1 ELSE 0 END,
        attempts = 0, last_error = NULL, retry_at = NULL
    FROM page AS p
    WHERE r.kind = $1 AND r.resource_id = p.resource_id AND NOT p.waits
    RETURNING r.resource_id, r.version
)
SELECT r.resource_id, coalesce(n.version, r.version), r.deleted_at IS NOT NULL, p.prompt, p.waits
FROM page AS p
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = p.resource_id LIMIT 1
) AS r
LEFT JOIN raised AS n ON n.resource_id = p.resource_id
ORDER BY r.resource_id

-- name: One
-- A new version of one row ($1, $2); $3: as of another incarnation.
UPDATE casq.registry
SET version = nextval('casq.registry_version'), queued_at = clock_timestamp(),
    incarnation = incarnation + CASE WHEN $3 THEN 1 ELSE 0 END,
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE kind = $1 AND resource_id = $2
RETURNING version, deleted_at IS NOT NULL

-- name: Count
-- How many rows of a kind ($1) a resync would ask for, those that wait included; only
-- failed ones when $2.
SELECT count(*)
FROM casq.registry AS r
WHERE r.kind = $1
  AND (r.deleted_at IS NULL OR r.synced_version IS DISTINCT FROM r.version)
  AND (NOT $2 OR r.failed_version = r.version AND NOT r.absent AND r.synced_version IS DISTINCT FROM r.version)
