-- name: Lock
-- Locks the rows in the order of the arguments, which is key order. The
-- lateral join cannot be turned into a hash join over all of the registry.
SELECT FROM unnest($1::text[], $2::text[]) AS w (kind, resource_id)
CROSS JOIN LATERAL (
    SELECT FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
    FOR NO KEY UPDATE
) AS r

-- name: Claim
-- Claims rows that are locked already ($1 to $5: kind, key, token, claim, job;
-- $6 the process; $7 what Cancel of cancel.sql writes), each once, and asks the runs that
-- hold the others to put a job in the queue when they give their claims back. Returns
-- those that were claimed, and those that were asked for. The rows are locked: either
-- that run sees that it is asked, or the claim was free a moment ago.
--
-- What a move keeps (casq.moves) is not removed: its end queues another job. Where nothing
-- moves, as of this very snapshot, no row is looked for there. A row that has this very claim
-- is one whose answer was lost: the claim stands, and is not counted again. A version
-- that an operator has cancelled is neither begun nor asked for by a job that was on its way.
--
-- By ctid: no other transaction can have moved a row that is locked since before the
-- snapshot. A join by key was taken for a hash of the whole registry up to some 50,000 rows,
-- 26 ms for 3, as long as nobody had analyzed casq.processes.
WITH wanted AS MATERIALIZED (
    SELECT w.claim, w.job, r.at, r.held, moved.base_id, moved.base_incarnation, moved.incarnation, kept.of_others,
           (r.deleted_at IS NOT NULL AND r.synced_incarnation = ANY (kept.incarnations)) IS TRUE AS stays
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[])
         AS w (kind, resource_id, version, claim, job)
    CROSS JOIN LATERAL (
        SELECT r.ctid AS at, r.deleted_at, r.synced_incarnation,
               CASE WHEN r.claim IS NULL OR r.claim = w.claim THEN false
                    ELSE EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL) END AS held
        FROM casq.registry AS r
        WHERE r.kind = w.kind AND r.resource_id = w.resource_id
          AND r.version = w.version
          AND r.synced_version IS DISTINCT FROM r.version
          AND (r.failed_version = r.version AND r.retry_at IS NULL AND r.last_error = $7) IS NOT TRUE
        LIMIT 1
    ) AS r
    LEFT JOIN LATERAL (
        SELECT m.base_id, m.base_incarnation, m.incarnation FROM casq.moves AS m
        WHERE (SELECT EXISTS (SELECT FROM casq.moves)) AND m.kind = w.kind AND m.resource_id = w.resource_id
        ORDER BY m.incarnation DESC NULLS LAST LIMIT 1
    ) AS moved ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(m.base_incarnation) AS incarnations,
               array_agg(m.base_incarnation) FILTER (WHERE m.resource_id <> w.resource_id) AS of_others
        FROM casq.moves AS m
        WHERE (SELECT EXISTS (SELECT FROM casq.moves)) AND m.kind = w.kind AND m.base_id = w.resource_id
    ) AS kept ON true
)
UPDATE casq.registry AS r
SET claim = CASE WHEN w.held THEN r.claim ELSE w.claim END,
    claim_process = CASE WHEN w.held THEN r.claim_process ELSE $6 END,
    claim_job = CASE WHEN w.held THEN r.claim_job ELSE w.job END,
    asked = w.held OR r.claim IS NOT DISTINCT FROM w.claim AND r.asked,
    attempts = r.attempts + CASE WHEN w.held OR r.claim = w.claim THEN 0 ELSE 1 END
FROM wanted AS w
WHERE r.ctid = w.at
  AND (w.held OR NOT w.stays AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = $6 AND p.dead_at IS NULL))
RETURNING w.claim, NOT w.held, r.payload, r.deleted_at IS NOT NULL, r.incarnation,
          -- Fresh, where no run of this incarnation has a result: what is in place, if
          -- anything, may be of an earlier one, also when the run that put it there died
          -- before it said so. Where the source has failed over, and home with it, the
          -- row of the earlier one may be lost.
          (r.incarnation > 1 OR r.timeline > 1) AND r.synced_incarnation IS DISTINCT FROM r.incarnation,
          r.synced_version IS NULL, r.size IS NULL, coalesce(r.checksum, ''),
          r.attempts, r.timeline, r.event_id, r.tick,
          w.base_id IS NOT NULL,
          CASE WHEN w.incarnation = r.incarnation THEN w.base_id ELSE '' END,
          CASE WHEN w.incarnation = r.incarnation THEN w.base_incarnation ELSE 0 END,
          -- What is in place is of a resource that lives elsewhere by now.
          CASE WHEN r.synced_incarnation <> r.incarnation AND r.synced_incarnation = ANY (w.of_others) THEN r.synced_incarnation ELSE 0 END

-- name: Refuse
-- Takes claims ($1 to $3: kind, key, claim; the group's) back whose place is another kind's.
SELECT t.claim, t.removal, t.why, t.seconds FROM casq.refuse_taken($1, $2, $3, $4) AS t

-- name: Verdict
-- Locks the rows in the order of the arguments ($1 to $4: kind, key, token,
-- claim; $5 incarnation; $6 what Cancel of cancel.sql writes), which is key order, and
-- says for each what its run may still do. The columns are read after the lock was
-- granted.
SELECT w.claim,
       r.claim IS NOT DISTINCT FROM w.claim AS mine,
       r.version = w.version AS newest,
       r.incarnation = w.incarnation AND r.deleted_at IS NULL AS same_incarnation,
       r.asked,
       r.synced_version IS NOT DISTINCT FROM w.version AS synced,
       r.failed_version IS NOT DISTINCT FROM w.version AS failed,
       (r.version = w.version AND r.failed_version = w.version AND r.retry_at IS NULL AND r.last_error = $6) IS TRUE AS cancelled
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[])
     AS w (kind, resource_id, version, claim, incarnation)
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
    FOR NO KEY UPDATE
) AS r

-- name: Complete
-- Gives claims back and says what became of their runs, all on rows that are
-- locked already. A failure is written only under the version that failed, so
-- that an old one never delays a new one; what was published is written even
-- when a newer version is asked for (the row stays pending). Returns the rows,
-- each with whether a job is to be queued for its version.
UPDATE casq.registry AS r
SET claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = r.claim,
    -- What asked was before is in w.asked, read under the lock.
    asked = false,
    synced_version = CASE WHEN w.published THEN w.version ELSE r.synced_version END,
    synced_incarnation = CASE WHEN w.published THEN r.incarnation ELSE r.synced_incarnation END,
    checksum = CASE WHEN w.published THEN w.checksum ELSE r.checksum END,
    source_state = CASE WHEN w.published THEN nullif(w.state, '') ELSE r.source_state END,
    size = CASE WHEN w.published THEN w.size ELSE r.size END,
    -- A run that brought only what differed has compared nothing of the rest.
    verified_at = CASE WHEN w.published AND NOT w.partial THEN clock_timestamp() ELSE r.verified_at END,
    failed_version = CASE WHEN w.error IS NOT NULL AND r.version = w.version THEN w.version ELSE r.failed_version END,
    last_error = CASE WHEN r.version <> w.version THEN r.last_error
                      WHEN w.published THEN NULL
                      WHEN w.error IS NOT NULL THEN w.error ELSE r.last_error END,
    failure_reason = CASE WHEN w.error IS NOT NULL AND r.version = w.version THEN w.reason ELSE r.failure_reason END,
    retry_at = CASE WHEN r.version = w.version THEN w.retry_at ELSE r.retry_at END,
    -- The version's first attempt that found nothing at the source says since when; a
    -- run whose claim is given back unfinished says nothing.
    missing_since = CASE WHEN r.version <> w.version OR w.released THEN r.missing_since
                         WHEN w.missing THEN coalesce(CASE WHEN r.failed_version = w.version THEN r.missing_since END,
                                                      clock_timestamp()) END,
    absent = CASE WHEN r.version <> w.version OR w.released THEN r.absent ELSE w.absent END,
    -- A run that was interrupted by its own worker's stop is no attempt.
    attempts = CASE WHEN r.version = w.version AND w.released THEN greatest(r.attempts - 1, 0) ELSE r.attempts END
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::boolean[], $6::text[], $7::bigint[],
            $8::text[], $9::timestamptz[], $10::boolean[], $11::boolean[], $12::boolean[], $13::boolean[], $14::text[], $15::boolean[], $16::text[])
     AS w (kind, resource_id, version, claim, published, checksum, size, error, retry_at, released, asked, missing, partial, reason, absent, state)
WHERE r.kind = w.kind AND r.resource_id = w.resource_id AND r.claim = w.claim
RETURNING r.kind, r.resource_id, r.version, r.deleted_at IS NOT NULL,
          (w.asked OR w.released) AND r.synced_version IS DISTINCT FROM r.version

-- name: GiveUp
-- Gives the claim ($1 to $4: kind, key, token, claim) back after the database
-- refused its run's result, with the refusal ($5; $7 what such ones have in common) and
-- the time of the next attempt ($6), and with nothing that can be refused again. A newer version is
-- left pending: the next reconcile finds that it has no job.
UPDATE casq.registry AS r
SET claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = r.claim, asked = false,
    failed_version = CASE WHEN r.version = $3 THEN r.version ELSE r.failed_version END,
    last_error = CASE WHEN r.version = $3 THEN $5 ELSE r.last_error END,
    failure_reason = CASE WHEN r.version = $3 THEN $7 ELSE r.failure_reason END,
    retry_at = CASE WHEN r.version = $3 THEN $6 ELSE r.retry_at END,
    missing_since = CASE WHEN r.version = $3 THEN NULL ELSE r.missing_since END,
    absent = r.absent AND r.version <> $3
WHERE r.kind = $1 AND r.resource_id = $2 AND r.claim = $4

-- name: Request
INSERT INTO casq.reconcile_runs (kind, reason, dry_run, beyond_timeline, beyond_tick, at_timeline, at_tick, walk, remove_orphans, allow_remove)
VALUES (nullif($1, ''), $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING id
