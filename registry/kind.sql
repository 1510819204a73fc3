-- name: Move
-- New versions of a page of rows ($1 kind, $2 keys, locked already) whose kind gets
-- another place, where nothing of theirs is yet. Claims are taken away, so that a run
-- that is under way publishes nothing any more. Tombstones whose removal is done are
-- left alone: nothing is at the new place either.
--
-- A version that takes the place of one whose job is prompt (1) is prompt, too.
WITH page AS MATERIALIZED (
    SELECT r.resource_id, coalesce(j.prompt, false) AS prompt
    FROM unnest($2::text[]) AS w (key)
    CROSS JOIN LATERAL (
        SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key LIMIT 1
    ) AS r
    -- OFFSET 0: as in Resync of resync.sql.
    LEFT JOIN LATERAL (
        SELECT bool_or(j.priority = 1) AS prompt
        FROM (
            SELECT * FROM river.river_job AS j
            WHERE j.finalized_at IS NULL
              AND (j.args ->> 'resource_id') COLLATE "C" = r.resource_id AND j.args ->> 'kind' = $1
            OFFSET 0
        ) AS j
        WHERE j.kind IN ('casq_sync', 'casq_remove') AND (j.args ->> 'version')::bigint = r.version
    ) AS j ON r.synced_version IS DISTINCT FROM r.version
    WHERE r.claim IS NOT NULL OR r.deleted_at IS NULL OR r.synced_version IS DISTINCT FROM r.version
)
UPDATE casq.registry AS r
SET version = nextval('casq.registry_version'), queued_at = clock_timestamp(),
    synced_version = NULL, synced_incarnation = NULL, checksum = NULL, source_state = NULL, size = NULL, verified_at = NULL,
    claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = coalesce(r.claim, r.last_claim), asked = false,
    attempts = 0, last_error = NULL, retry_at = NULL
FROM page AS p
WHERE r.kind = $1 AND r.resource_id = p.resource_id
RETURNING r.resource_id, r.version, r.deleted_at IS NOT NULL, p.prompt

-- name: Set
-- Options of a kind ($1); those that are NULL stay.
UPDATE casq.kinds
SET missing = coalesce($2, missing), quiet = coalesce($3::interval, quiet), probe = coalesce($4::interval, probe)
WHERE kind = $1
RETURNING kind, transfer, queue, coalesce(prefix, ''), coalesce(source_prefix, ''), missing, quiet, probe

-- name: Collides
-- A resource of a kind ($1) whose place another kind's resource has, and that one; no row
-- where there is none, or the kind shares its tree with no other.
SELECT r.resource_id, h.kind, h.resource_id
FROM casq.registry AS r
CROSS JOIN LATERAL casq.place_holders(r.kind, r.resource_id) AS h
WHERE r.kind = $1 AND r.deleted_at IS NULL AND EXISTS (SELECT FROM casq.neighbours AS n WHERE n.kind = $1)
LIMIT 1
