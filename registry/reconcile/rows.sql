-- name: Rows
-- A page of the rows of a kind ($1) beyond a key ($2), of $3 at most, with what
-- may be to be done for each, as flags: 1 it wants its resource to be there; 2 its
-- intent came with a tick beyond (timeline $4, tick $5; NULL: any); 4 it has work to do
-- that no live process has in hand, since before $6; 8 it is in place, and was not
-- compared since $7 (NULL: not asked), nor asked to be since $8. With $9 come the
-- payloads, but '' for one that is large: to measure the page instead, and to end it there,
-- takes half as long again.
SELECT array_agg(page.resource_id), array_agg(page.version), array_agg(page.flags), CASE WHEN $9 THEN array_agg(page.payload) END
FROM (
    SELECT r.resource_id, r.version,
           CASE WHEN $9 THEN CASE WHEN pg_column_size(r.payload) <= 1024 AND pg_column_compression(r.payload) IS NULL
                                  THEN r.payload::text ELSE '' END END AS payload,
           CASE WHEN r.deleted_at IS NULL THEN 1 ELSE 0 END
           + CASE WHEN $4::integer IS NULL OR (r.timeline, r.tick) > ($4::integer, $5::bigint) THEN 2 ELSE 0 END
           + CASE WHEN r.synced_version IS DISTINCT FROM r.version
                       AND greatest(r.queued_at, r.retry_at) < $6::timestamptz
                       -- Failed for good: an operator has to ask.
                       AND (r.failed_version IS DISTINCT FROM r.version OR r.retry_at IS NOT NULL OR r.absent)
                       -- Its move will ask.
                       AND (r.deleted_at IS NULL OR casq.kept_for(r) IS NULL)
                       AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
                  THEN 4 ELSE 0 END
           + CASE WHEN r.synced_version = r.version AND r.deleted_at IS NULL AND coalesce(r.verified_at, '-infinity') < $7::timestamptz
                       AND (r.check_asked_at > greatest(r.verified_at, $8::timestamptz)) IS NOT TRUE
                  THEN 8 ELSE 0 END AS flags
    FROM casq.registry AS r
    WHERE r.kind = $1 AND r.resource_id > $2
    ORDER BY r.resource_id
    LIMIT $3
) AS page

-- name: Oldest
-- Before when must a row have been queued (in queue $1, margin $2) to have no job
-- waiting there any more? Before the oldest job that waits, of whichever priority: an
-- older one was fetched, or lost. River numbers priorities from 1 to 4; of each
-- this is the first entry of its index for fetching. Likewise for queue $3.
SELECT least(clock_timestamp(), min(oldest.scheduled_at) FILTER (WHERE q.n = 1)) - $2::interval,
       least(clock_timestamp(), min(oldest.scheduled_at) FILTER (WHERE q.n = 2)) - $2::interval
FROM (VALUES (1, $1::text), (2, $3::text)) AS q (n, queue)
CROSS JOIN generate_series(1, 4) AS p (priority)
LEFT JOIN LATERAL (
    SELECT j.scheduled_at FROM river.river_job AS j
    WHERE j.state = 'available' AND j.queue = q.queue AND j.priority = p.priority
    ORDER BY j.scheduled_at, j.id LIMIT 1
) AS oldest ON true

-- name: VerifyAsked
-- Notes that verifications of rows ($1 kind, $2 keys, $3 versions) are asked for, so
-- that the next reconcile asks for no others. A row that is locked is left out: waiting
-- for it could be in circles, and one verification too many does no harm.
UPDATE casq.registry AS r
SET check_asked_at = clock_timestamp()
FROM (
    SELECT q.kind, q.resource_id FROM unnest($2::text[], $3::bigint[]) AS w (key, version)
    CROSS JOIN LATERAL (
        SELECT q.kind, q.resource_id FROM casq.registry AS q
        WHERE q.kind = $1 AND q.resource_id = w.key AND q.version = w.version
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS q
) AS free
WHERE r.kind = free.kind AND r.resource_id = free.resource_id

-- name: Requeue
-- A job for each row ($1 kind, $2 keys, $3 versions, locked already) that still
-- has work to do, and that no live process has in hand. No new version: another job of
-- the same token is harmless, and the runs of one version are counted together.
UPDATE casq.registry AS r
SET queued_at = clock_timestamp()
FROM unnest(array_fill($1::text, ARRAY[cardinality($2::text[])]), $2::text[], $3::bigint[]) AS w (kind, key, version)
WHERE r.kind = w.kind AND r.resource_id = w.key AND r.version = w.version
  AND r.synced_version IS DISTINCT FROM r.version
  AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
RETURNING r.kind, r.resource_id, r.version, r.deleted_at IS NOT NULL

-- name: Raise
-- New versions for rows ($1 kind, $2 keys, $3 versions, locked already) whose
-- resources the source cannot be asked for, as of timeline $4 and tick $5: they are
-- copied again, and what is not there any more shows as missing.
UPDATE casq.registry AS r
SET version = nextval('casq.registry_version'),
    event_id = CASE WHEN r.timeline = $4 THEN r.event_id ELSE 0 END,
    timeline = $4, tick = $5,
    deleted_at = NULL,
    incarnation = r.incarnation + 1,
    queued_at = clock_timestamp(),
    attempts = 0, last_error = NULL, retry_at = NULL
FROM unnest(array_fill($1::text, ARRAY[cardinality($2::text[])]), $2::text[], $3::bigint[]) AS w (kind, key, version)
WHERE r.kind = w.kind AND r.resource_id = w.key AND r.version = w.version
  AND (r.timeline, r.tick) <= ($4, $5)
RETURNING r.kind, r.resource_id, r.version, false

-- name: Compare
-- What is to be done for resources that the source shows ($1 kind, $2 keys, $3
-- payloads, timeline $4, tick $5), by their place in the page; only where something
-- is. Nothing is locked: Apply of refetch.sql decides again.
SELECT w.n::integer,
       CASE WHEN r.kind IS NULL THEN 'created'
            WHEN (r.timeline, r.tick) > ($4::integer, $5::bigint) THEN 'late'
            WHEN r.deleted_at IS NOT NULL THEN 'created'
            ELSE 'changed' END
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w (key, payload, n)
LEFT JOIN LATERAL (
    SELECT * FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key LIMIT 1
) AS r ON true
WHERE r.kind IS NULL OR r.deleted_at IS NOT NULL OR r.payload <> w.payload::jsonb

-- name: LivePage
-- A page of the rows of a kind ($1) beyond a key ($2), of $3 at most, that want
-- their resource to be there.
SELECT array_agg(page.resource_id)
FROM (
    SELECT r.resource_id FROM casq.registry AS r
    WHERE r.kind = $1 AND r.resource_id > $2 AND r.deleted_at IS NULL
    ORDER BY r.resource_id
    LIMIT $3
) AS page

-- name: Enter
-- How many of these resources ($1 kind, $2 keys) have no live row.
SELECT count(*) FROM unnest($2::text[]) AS w (key)
LEFT JOIN LATERAL (
    SELECT true AS live FROM casq.registry AS r WHERE r.kind = $1 AND r.resource_id = w.key AND r.deleted_at IS NULL LIMIT 1
) AS r ON true
WHERE r.live IS NULL
