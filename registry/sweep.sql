-- name: Page
-- A page of the registry beyond ($1, $2), $3 rows at most: its last key, and
-- the rows that were claimed by a process which is not alive. There is no index
-- on claims: it would make every claim and every commit write to two indexes
-- more, and a process dies rarely.
WITH page AS MATERIALIZED (
    SELECT r.kind, r.resource_id,
           r.claim IS NOT NULL
           AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL) AS left_behind
    FROM casq.registry AS r
    WHERE (r.kind, r.resource_id) > ($1, $2)
    ORDER BY r.kind, r.resource_id
    LIMIT $3
)
SELECT kind, resource_id, left_behind
FROM page
WHERE left_behind
   OR (kind, resource_id) = (SELECT kind, resource_id FROM page ORDER BY kind DESC, resource_id DESC LIMIT 1)
ORDER BY kind, resource_id

-- name: Sweep
-- Hands on the rows ($1, $2), which are locked already, that dead processes had
-- in hand. Claims of processes that are not alive are given back. A row that is
-- not claimed has lost a job ($4; NULL: no job is known) that died before it claimed,
-- unless another sweep was here with this job, or with a newer one of the row: jobs get
-- their ids under the row's lock, so a later one has a higher id. Rows
-- that a live process has are left alone: see Ask. A version whose runs keep dying is
-- failed at the limit ($3): not handed on for ever. Attempts that found nothing
-- at the source are no such runs, and have no limit. A row whose kind is not defined
-- any more gets no job, as there is no queue for it, and keeps no other from one.
WITH old AS MATERIALIZED (
    SELECT r.kind, r.resource_id, greatest(r.swept_job, r.claim_job, w.job) AS swept_job,
           r.missing_since IS NOT NULL AND r.failed_version = r.version AS missing
    FROM unnest($1::text[], $2::text[], $4::bigint[]) AS w (kind, resource_id, job)
    CROSS JOIN LATERAL (
        SELECT * FROM casq.registry AS r
        WHERE r.kind = w.kind AND r.resource_id = w.resource_id
          AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
          AND (r.claim IS NOT NULL OR w.job > coalesce(r.swept_job, 0))
    ) AS r
)
UPDATE casq.registry AS r
SET claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = coalesce(r.claim, r.last_claim),
    asked = false,
    swept_job = old.swept_job,
    attempts = CASE WHEN old.missing AND r.claim IS NOT NULL THEN 1 ELSE r.attempts END,
    missing_since = CASE WHEN r.claim IS NULL THEN r.missing_since END,
    failed_version = CASE WHEN r.attempts >= $3 AND NOT old.missing THEN r.version ELSE r.failed_version END,
    last_error = CASE WHEN r.attempts >= $3 AND NOT old.missing
                      THEN format('the worker died in attempt %s, the last one', r.attempts)
                      ELSE r.last_error END,
    failure_reason = CASE WHEN r.attempts >= $3 AND NOT old.missing
                          THEN 'the worker died in each attempt' ELSE r.failure_reason END,
    absent = r.absent AND (r.attempts < $3 OR old.missing),
    retry_at = NULL,
    queued_at = clock_timestamp()
FROM old
WHERE r.kind = old.kind AND r.resource_id = old.resource_id
  AND r.synced_version IS DISTINCT FROM r.version
RETURNING r.kind, r.resource_id, r.version, r.deleted_at IS NOT NULL,
          (r.attempts < $3 OR old.missing) AND EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = r.kind)

-- name: Ask
-- Asks the live runs that have the rows ($1, $2), which are locked already, in
-- the name of the dead jobs ($3) that would have done so. Such a run may be of a
-- job older than one that was swept already: if it failed, and then died with
-- its retry, no other job would go on.
UPDATE casq.registry AS r
SET asked = true, swept_job = w.job
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS w (kind, resource_id, job)
WHERE r.kind = w.kind AND r.resource_id = w.resource_id
  AND w.job > coalesce(r.swept_job, 0)
  AND r.synced_version IS DISTINCT FROM r.version
  AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)

-- name: Over
-- Of the resources ($1, $2) that dead processes had in hand, those that no run will
-- begin again, with the claim that they had last. The run that held it may have died
-- after its commit and before it removed its staging, which may hold all bytes of
-- a resource that was removed.
SELECT r.kind, r.resource_id, r.last_claim
FROM unnest($1::text[], $2::text[]) AS w (kind, resource_id)
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
      AND r.claim IS NULL AND r.last_claim IS NOT NULL
      AND (r.synced_version = r.version OR r.failed_version = r.version)
) AS r

-- name: Lost
-- Of the runs ($1 to $6: kind, key, token, claim, incarnation, whether it is a
-- removal), those that work for nothing, and why: another run holds the claim, or the
-- row is gone; or their result may not be published any more, as the resource was
-- deleted or replaced (see mayPublish); or an operator has cancelled what is asked
-- for ($7 is what Cancel of cancel.sql writes).
SELECT w.claim,
       CASE WHEN r.claim IS DISTINCT FROM w.claim THEN 'fenced'
            WHEN r.version <> w.version AND (w.deleted OR r.deleted_at IS NOT NULL OR r.incarnation <> w.incarnation) THEN 'replaced'
            ELSE 'cancelled' END
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[], $6::boolean[])
     AS w (kind, resource_id, version, claim, incarnation, deleted)
LEFT JOIN LATERAL (
    SELECT r.claim, r.version, r.incarnation, r.deleted_at, r.failed_version, r.retry_at, r.last_error
    FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
) AS r ON true
WHERE r.claim IS DISTINCT FROM w.claim
   OR r.version <> w.version AND (w.deleted OR r.deleted_at IS NOT NULL OR r.incarnation <> w.incarnation)
   OR r.failed_version = r.version AND r.retry_at IS NULL AND r.last_error = $7
