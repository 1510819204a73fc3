-- name: Begin
-- Makes known which kinds are probed here: those of the transfers $1 that have a pace. What
-- has none any more begins anew when it gets one.
WITH over AS (
    DELETE FROM casq.probes AS p USING casq.kinds AS k WHERE k.kind = p.kind AND k.probe = '0'
)
INSERT INTO casq.probes (kind)
SELECT k.kind FROM casq.kinds AS k WHERE k.probe > '0' AND k.transfer = ANY ($1)
ON CONFLICT DO NOTHING

-- name: Take
-- The kind, of the transfers $1, whose next page is due first, where it is, and how many
-- resources the page has: as many as are due each second, and $2 at most, of its transfer. Another process
-- that takes one meanwhile takes another kind's.
SELECT k.kind, k.transfer, k.queue, coalesce(k.prefix, ''), coalesce(k.source_prefix, ''), k.missing, k.quiet, k.probe,
       p.position, clock_timestamp(), greatest(1, least(($2::integer[])[array_position($1, k.transfer)], ceil(t.total / extract(epoch FROM k.probe))))::integer, t.total
FROM casq.probes AS p
JOIN casq.kinds AS k ON k.kind = p.kind
CROSS JOIN LATERAL (SELECT coalesce(sum(g.count), 0)::bigint AS total FROM casq.registry_groups AS g WHERE g.kind = p.kind) AS t
WHERE k.probe > '0' AND k.transfer = ANY ($1) AND p.due_at <= clock_timestamp()
ORDER BY p.due_at
LIMIT 1
FOR UPDATE OF p SKIP LOCKED

-- name: Page
-- The page of a kind ($1) beyond a key ($2), of $3 rows at most: what is in place, and at
-- rest, with the checksum of its copy, and what the source said of
-- itself; or absent; and whether its version is not older than
-- $4. Others have no version, and are there so that the last one says where to go on.
SELECT r.resource_id, CASE WHEN w.wanted THEN r.version ELSE 0 END, CASE WHEN w.wanted THEN r.payload END,
       coalesce(r.checksum, ''), coalesce(r.source_state, ''), r.synced_version IS DISTINCT FROM r.version, r.queued_at > clock_timestamp() - $4::interval
FROM casq.registry AS r
CROSS JOIN LATERAL (
    SELECT (r.deleted_at IS NULL AND r.claim IS NULL
            AND (r.synced_version = r.version OR r.failed_version = r.version AND r.absent)) IS TRUE AS wanted
) AS w
WHERE r.kind = $1 AND r.resource_id > $2
ORDER BY r.resource_id
LIMIT $3

-- name: These
-- Of a kind's ($1) resources ($2 keys) those that are in place, or absent, and at rest, as
-- Page has them.
SELECT r.resource_id, r.version, r.payload, coalesce(r.checksum, ''), coalesce(r.source_state, ''),
       r.synced_version IS DISTINCT FROM r.version, r.queued_at > clock_timestamp() - $3::interval
FROM unnest($2::text[]) WITH ORDINALITY AS w (key, n)
CROSS JOIN LATERAL (
    SELECT q.* FROM casq.registry AS q WHERE q.kind = $1 AND q.resource_id = w.key
    LIMIT 1 -- keeps this a look by key, for each of them
) AS r
WHERE r.deleted_at IS NULL AND r.claim IS NULL
  AND (r.synced_version = r.version OR r.failed_version = r.version AND r.absent)
ORDER BY w.n

-- name: Move
-- Moves on from a page of $3 resources of $4 that a kind ($1) has, to a key ($2); at the
-- end of a round that is ''. The next page is due in as much of the kind's time as this
-- page was of the kind. What could not be done in time is not made up for.
UPDATE casq.probes AS p
SET position = $2,
    due_at = greatest(p.due_at, clock_timestamp() - k.probe) + k.probe * ($3::float8 / greatest($3::float8, $4::float8)),
    round = CASE WHEN $2 = '' THEN clock_timestamp() - p.began_at ELSE p.round END,
    began_at = CASE WHEN $2 = '' THEN clock_timestamp() ELSE p.began_at END
FROM casq.kinds AS k
WHERE p.kind = $1 AND k.kind = p.kind

-- name: Told
-- Keeps why resources of a kind ($1) could not be compared ($2; NULL: all could), and
-- since when.
UPDATE casq.probes
SET last_error = $2, failing_since = CASE WHEN $2::text IS NOT NULL THEN coalesce(failing_since, clock_timestamp()) END
WHERE kind = $1 AND ($2::text IS NOT NULL OR last_error IS NOT NULL)

-- name: Compared
-- Notes that resources ($1 kind, $2 keys, $3 versions) were like the source's at a
-- time ($4), before anything was read. A row that is locked, or has another version, is
-- left as it is.
UPDATE casq.registry AS r
SET compared_at = greatest(r.compared_at, $4)
FROM (
    SELECT q.kind, q.resource_id FROM unnest($2::text[], $3::bigint[]) AS w (key, version)
    CROSS JOIN LATERAL (
        SELECT q.kind, q.resource_id FROM casq.registry AS q
        WHERE q.kind = $1 AND q.resource_id = w.key AND q.version = w.version
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS q
) AS free
WHERE r.kind = free.kind AND r.resource_id = free.resource_id

-- name: Changed
-- A new version of a resource ($1, $2) that was found to differ from the source under a
-- version ($3), or to be there where it was absent; only while that is the row's, and no
-- run is at work on it.
UPDATE casq.registry
SET (version, probed_version) = (SELECT n.v, n.v FROM (SELECT nextval('casq.registry_version') AS v) AS n),
    queued_at = clock_timestamp(), attempts = 0, last_error = NULL, retry_at = NULL
WHERE kind = $1 AND resource_id = $2 AND version = $3 AND deleted_at IS NULL AND claim IS NULL
  AND (synced_version = $3 OR failed_version = $3 AND absent)
RETURNING version
