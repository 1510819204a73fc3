-- name: Project
-- The one project that there is, by the name of its folder.
UPDATE casq.projects SET path = $2 WHERE id = $1

-- name: Runner
SELECT token FROM casq.create_runner('enqueue exec', tags => $1, run_untagged => true)

-- name: BeginPipeline
SELECT casq.begin_pipeline($1, ref => $2, sha => $3)

-- name: Add
-- Queues a job. That what is before it has ended is known; so it needs nothing of the
-- queue.
SELECT casq.add_build($1, $2, $3, tags => $4, stage => $5, timeout => $6)

-- name: Gets
-- Names those whose artifacts it gets.
INSERT INTO casq.build_needs (build_id, needs_id) SELECT $1, n FROM unnest($2::bigint[]) AS n

-- name: Named
-- A job's own id is known to it.
UPDATE casq.builds SET job = jsonb_set(job, '{variables}', (job -> 'variables') ||
    jsonb_build_array(jsonb_build_object('key', 'CI_JOB_ID', 'value', id::text, 'public', true, 'raw', true)))
WHERE id = $1

-- name: Ended
-- Those of the builds $1 that have ended, and how.
SELECT id, status, coalesce(failure_reason, ''), exit_code, message FROM casq.builds
WHERE id = ANY ($1) AND finished_at IS NOT NULL

-- name: Idle
-- Whether no build was handed out yet, and what one of them waits for.
SELECT NOT bool_or(attempt > 0), casq.why_build(min(id)) FROM casq.builds

-- name: Retry
SELECT casq.retry_build($1)

-- name: Cancel
-- Cancels those of the builds $1 that have not ended.
SELECT casq.cancel_build(id) FROM casq.builds WHERE id = ANY ($1) AND finished_at IS NULL AND status <> 'canceling' ORDER BY id
