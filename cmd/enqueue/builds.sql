-- name: AddBuild
-- Adds a build of the job $3, named $2, to a pipeline of its own of the project $1; or to
-- that of the builds $5, which it needs.
SELECT casq.add_build(
    coalesce((SELECT b.pipeline_id FROM casq.builds AS b WHERE b.id = ($5::bigint[])[1]), casq.begin_pipeline($1)),
    $2, $3, tags => $4, needs => $5, priority => $6, timeout => $7)

-- name: Build
SELECT b.id, b.pipeline_id, b.project_id, b.name, b.status, s.tags, b.attempt, b.runner_id, b.created_at, b.finished_at,
       coalesce(b.failure_reason, ''), b.exit_code
FROM casq.builds AS b JOIN casq.tag_sets AS s ON s.id = b.tag_set WHERE b.id = $1

-- name: Builds
-- The newest builds, of the project $1 and with the status $2 if those are not NULL.
SELECT b.id, b.pipeline_id, b.project_id, b.name, b.status, s.tags, b.attempt, b.runner_id, b.created_at, b.finished_at,
       coalesce(b.failure_reason, ''), b.exit_code
FROM casq.builds AS b JOIN casq.tag_sets AS s ON s.id = b.tag_set
WHERE ($1::bigint IS NULL OR b.project_id = $1) AND ($2::text IS NULL OR b.status = $2)
ORDER BY b.id DESC LIMIT $3

-- name: CreateRunner
SELECT id, token FROM casq.create_runner($1, tags => $2, run_untagged => $3, projects => $4, max_running => $5)

-- name: Runners
SELECT id, description, tags, run_untagged, projects, paused, max_running, processes, contacted_at, running
FROM casq.runner_status ORDER BY id

-- name: PauseRunner
UPDATE casq.runners SET paused = $2 WHERE id = $1

-- name: DeleteRunner
DELETE FROM casq.runners WHERE id = $1
