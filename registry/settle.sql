-- Gives claims back and says what became of their runs, all on rows that are
-- locked already. A failure is written only under the version that failed, so
-- that an old one never delays a new one; what was published is written even
-- when a newer version is asked for (the row stays pending). Returns the rows
-- for whose version somebody has to be asked again.
UPDATE casq.registry AS r
SET claim = NULL, claim_process = NULL, claim_job = NULL, last_claim = r.claim,
    -- What it was before is in w.asked, read under the lock.
    asked = false,
    synced_version = CASE WHEN w.published THEN w.version ELSE r.synced_version END,
    synced_incarnation = CASE WHEN w.published THEN r.incarnation ELSE r.synced_incarnation END,
    checksum = CASE WHEN w.published THEN w.checksum ELSE r.checksum END,
    size = CASE WHEN w.published THEN w.size ELSE r.size END,
    -- Who brought only what differed has compared nothing of the rest.
    verified_at = CASE WHEN w.published AND NOT w.partial THEN clock_timestamp() ELSE r.verified_at END,
    failed_version = CASE WHEN w.error IS NOT NULL AND r.version = w.version THEN w.version ELSE r.failed_version END,
    last_error = CASE WHEN r.version <> w.version THEN r.last_error
                      WHEN w.published THEN NULL
                      WHEN w.error IS NOT NULL THEN w.error ELSE r.last_error END,
    retry_at = CASE WHEN r.version = w.version THEN w.retry_at ELSE r.retry_at END,
    -- The first of the version that found nothing there says since when; a run
    -- that was given back unfinished has nothing to say.
    missing_since = CASE WHEN r.version <> w.version OR w.released THEN r.missing_since
                         WHEN w.missing THEN coalesce(CASE WHEN r.failed_version = w.version THEN r.missing_since END,
                                                      clock_timestamp()) END,
    -- A run that was interrupted by its own worker's stop is no attempt.
    attempts = CASE WHEN r.version = w.version AND w.released THEN greatest(r.attempts - 1, 0) ELSE r.attempts END
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::boolean[], $6::text[], $7::bigint[],
            $8::text[], $9::timestamptz[], $10::boolean[], $11::boolean[], $12::boolean[], $13::boolean[])
     AS w (kind, resource_id, version, claim, published, checksum, size, error, retry_at, released, asked, missing, partial)
WHERE r.kind = w.kind AND r.resource_id = w.resource_id AND r.claim = w.claim
RETURNING r.kind, r.resource_id, r.version, r.deleted_at IS NOT NULL,
          (w.asked OR w.released) AND r.synced_version IS DISTINCT FROM r.version
