-- name: State
-- What a verification of the token ($1 to $3: kind, key, version; 0: whichever
-- it is) needs. No row: another version is wanted by now. Without a checksum only the
-- source is left to compare with. The place is that of the row's version: a move of
-- the kind raises versions.
SELECT r.version, r.payload, coalesce(r.checksum, ''), r.deleted_at IS NOT NULL,
       r.synced_version IS NOT DISTINCT FROM r.version,
       r.verified_at, clock_timestamp(),
       k.kind, k.transfer, k.queue, coalesce(k.prefix, ''), coalesce(k.source_prefix, ''), k.missing, k.quiet, k.probe
FROM casq.registry AS r JOIN casq.kinds AS k USING (kind)
WHERE r.kind = $1 AND r.resource_id = $2 AND $3::bigint IN (0, r.version)

-- name: Done
-- The end of a verification that found no difference, as of the time ($4) when it began
-- to read: one that is asked for meanwhile reads again. Under its own token ($1 to
-- $3) alone: what it has read may be of a version that is not in place any more.
UPDATE casq.registry
SET verified_at = greatest(verified_at, $4)
WHERE kind = $1 AND resource_id = $2 AND version = $3 AND synced_version = $3

-- name: Repair
-- A new version of what a verification found different: a resync of exactly the
-- token ($1 to $3) that it has read. A version that came meanwhile has a job
-- of its own. Sent twice, it finds its own new version and does nothing. Where an
-- update would not mend it ($4) the incarnation rises: until one run has put a fresh
-- copy in place, of whichever version, no run uses what is there.
UPDATE casq.registry
SET version = nextval('casq.registry_version'), queued_at = clock_timestamp(),
    incarnation = incarnation + CASE WHEN $4 THEN 1 ELSE 0 END,
    attempts = 0, last_error = NULL, retry_at = NULL
WHERE kind = $1 AND resource_id = $2 AND version = $3 AND synced_version = $3
RETURNING version, deleted_at IS NOT NULL

-- name: One
-- The version of a row ($1, $2), and whether it is in place.
SELECT r.version, r.deleted_at IS NULL AND r.synced_version IS NOT DISTINCT FROM r.version
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id = $2

-- name: Page
-- A page of a kind ($1) beyond a key ($2), of $3 rows at most, with the version
-- of those that are in place and were not compared within $4; 0 for the others,
-- which are there so that the last one says where to go on. Nothing is locked: a
-- token that is late costs nothing.
SELECT r.resource_id,
       CASE WHEN r.deleted_at IS NULL AND r.synced_version = r.version
                 AND coalesce(r.verified_at <= clock_timestamp() - $4::interval, true)
            THEN r.version ELSE 0 END
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id > $2
ORDER BY r.resource_id
LIMIT $3
