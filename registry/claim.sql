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
-- $6 the process; $7 what Cancel of cancel.sql writes). What a move keeps (casq.moves) is
-- not removed: its end queues another job. A row that has this very claim
-- is one whose answer was lost: the claim stands, and is not counted again. A version
-- that an operator has cancelled is not begun by a job that was on its way.
UPDATE casq.registry AS r
SET claim = w.claim, claim_process = $6, claim_job = w.job,
    asked = r.claim = w.claim AND r.asked,
    attempts = r.attempts + CASE WHEN r.claim = w.claim THEN 0 ELSE 1 END
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[])
     AS w (kind, resource_id, version, claim, job)
LEFT JOIN LATERAL (
    SELECT m.base_id, m.base_incarnation, m.incarnation FROM casq.moves AS m
    WHERE m.kind = w.kind AND m.resource_id = w.resource_id
    ORDER BY m.incarnation DESC NULLS LAST LIMIT 1
) AS moved ON true
LEFT JOIN LATERAL (
    SELECT array_agg(m.base_incarnation) AS incarnations,
           array_agg(m.base_incarnation) FILTER (WHERE m.resource_id <> w.resource_id) AS of_others
    FROM casq.moves AS m WHERE m.kind = w.kind AND m.base_id = w.resource_id
) AS kept ON true
WHERE r.kind = w.kind AND r.resource_id = w.resource_id
  AND r.version = w.version
  AND r.synced_version IS DISTINCT FROM r.version
  AND (r.deleted_at IS NOT NULL AND r.synced_incarnation = ANY (kept.incarnations)) IS NOT TRUE
  AND (r.failed_version = r.version AND r.retry_at IS NULL AND r.last_error = $7) IS NOT TRUE
  AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = $6 AND p.dead_at IS NULL)
  AND (r.claim IS NULL OR r.claim = w.claim
       OR NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL))
RETURNING r.claim, r.payload, r.deleted_at IS NOT NULL, r.incarnation,
          -- Fresh, where no run of this incarnation has a result: what is in place, if
          -- anything, may be of an earlier one, also when the run that put it there died
          -- before it said so. Where the source has failed over, and home with it, the
          -- row of the earlier one may be lost.
          (r.incarnation > 1 OR r.timeline > 1) AND r.synced_incarnation IS DISTINCT FROM r.incarnation,
          r.synced_version IS NULL, r.size IS NULL, coalesce(r.checksum, ''),
          r.attempts, r.timeline, r.event_id, r.tick,
          moved.base_id IS NOT NULL,
          CASE WHEN moved.incarnation = r.incarnation THEN moved.base_id ELSE '' END,
          CASE WHEN moved.incarnation = r.incarnation THEN moved.base_incarnation ELSE 0 END,
          -- What is in place is of a resource that lives elsewhere by now.
          CASE WHEN r.synced_incarnation <> r.incarnation AND r.synced_incarnation = ANY (kept.of_others) THEN r.synced_incarnation ELSE 0 END

-- name: Share
-- Has those who claim in a tree that kinds share ($1 kinds of this group) come one after
-- the other, and after all other claims: whoever has found no neighbour of his kind may
-- hold what one that has come meanwhile asks for.
SELECT CASE WHEN EXISTS (SELECT FROM casq.neighbours AS n WHERE n.kind = ANY ($1::text[]))
            THEN pg_advisory_xact_lock(hashtextextended('casq.places', 0))
            ELSE pg_advisory_xact_lock_shared(hashtextextended('casq.places', 0)) END

-- name: Refuse
-- Takes claims ($1 to $3: kind, key, claim; the group's) back whose place a resource of
-- another kind has, before anything is done there: by an earlier claim, by what is in
-- place, or, in one group, by the order of both. The version has failed, and is tried again
-- ever more rarely ($4 seconds at most) for as long as it is wanted; it is no attempt that may
-- have killed a worker, so that few are counted. A removal is done: nothing of its own is
-- there. A row that has something in place has the place. Returns the claim, whether it
-- was a removal, why, and in how many seconds it is tried again.
WITH shared AS MATERIALIZED (
    SELECT DISTINCT n.kind FROM casq.neighbours AS n WHERE n.kind = ANY ($1::text[])
), taken AS (
    SELECT DISTINCT ON (r.kind, r.resource_id) r.kind, r.resource_id, r.claim, r.deleted_at IS NULL AS wanted, h.kind AS holder,
           format('its place is that of %s %s, and kinds %s and %s share a tree', h.kind, to_json(h.resource_id), r.kind, h.kind) AS why,
           least(r.attempts ^ 4, $4::double precision) AS seconds
    FROM unnest($1::text[], $2::text[]) AS w (kind, resource_id)
    JOIN shared USING (kind)
    JOIN casq.registry AS r ON r.kind = w.kind AND r.resource_id = w.resource_id AND r.claim = ANY ($3::uuid[]) AND r.size IS NULL
    CROSS JOIN LATERAL casq.place_holders(r.kind, r.resource_id) AS h
    WHERE h.size IS NOT NULL OR h.claim <> ALL ($3::uuid[]) OR (h.kind, h.resource_id) < (r.kind, r.resource_id)
    ORDER BY r.kind, r.resource_id, h.kind, h.resource_id
)
UPDATE casq.registry AS r
SET claim = NULL, claim_process = NULL, claim_job = NULL, asked = false, missing_since = NULL,
    attempts = least(r.attempts, 6),
    synced_version = CASE WHEN t.wanted THEN r.synced_version ELSE r.version END,
    synced_incarnation = CASE WHEN t.wanted THEN r.synced_incarnation ELSE r.incarnation END,
    failed_version = CASE WHEN t.wanted THEN r.version ELSE r.failed_version END,
    last_error = CASE WHEN t.wanted THEN t.why END,
    failure_reason = CASE WHEN t.wanted THEN format('its place is that of kind %s', t.holder) ELSE r.failure_reason END,
    retry_at = CASE WHEN t.wanted THEN clock_timestamp() + make_interval(secs => t.seconds) END
FROM taken AS t
WHERE r.kind = t.kind AND r.resource_id = t.resource_id
RETURNING t.claim, NOT t.wanted, t.why, t.seconds

-- name: Ask
-- Asks the runs that have the resources to put a job in the queue when they give
-- their claims back. The rows are locked: either this is seen by that run, or
-- the claim was free a moment ago and Claim took it. Several calls may ask for
-- one row, and one of them may be of the run that has just got it. A version that an
-- operator has cancelled is not asked for ($5 is what Cancel of cancel.sql writes).
WITH w AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[])
        AS w (kind, resource_id, version, claim)
), asked AS (
    UPDATE casq.registry AS r
    SET asked = true
    FROM w
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
      AND r.version = w.version
      AND r.synced_version IS DISTINCT FROM r.version
      AND (r.failed_version = r.version AND r.retry_at IS NULL AND r.last_error = $5) IS NOT TRUE
      AND r.claim <> w.claim
      AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
    RETURNING r.kind, r.resource_id, r.version
)
SELECT w.claim FROM w JOIN asked USING (kind, resource_id, version)

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
            $8::text[], $9::timestamptz[], $10::boolean[], $11::boolean[], $12::boolean[], $13::boolean[], $14::text[], $15::boolean[])
     AS w (kind, resource_id, version, claim, published, checksum, size, error, retry_at, released, asked, missing, partial, reason, absent)
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
