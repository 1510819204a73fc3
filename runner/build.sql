-- name: BeginPipeline
SELECT casq.begin_pipeline($1, ref => $2, sha => $3)

-- name: AddBuild
SELECT casq.add_build($1, $2, $3, tags => $4, needs => $5, stage => $6, priority => $7, timeout => $8, allow_failure => $9)

-- name: OfToken
-- The attempt that a job token, by its hash, stands for, if it is of the build $2.
SELECT id, attempt, project_id, status, started_at IS NOT NULL FROM casq.builds WHERE token_hash = $1 AND id = $2

-- name: Exists
SELECT EXISTS (SELECT FROM casq.builds WHERE id = $1)

-- name: Begin
-- The runner has shown a sign of life. From here on its signs have a row, so that to write
-- them down locks no build.
WITH begun AS (
    UPDATE casq.builds SET started_at = clock_timestamp()
    WHERE id = $1 AND token_hash = $2 AND status IN ('running', 'canceling') AND started_at IS NULL
    RETURNING id, attempt
)
INSERT INTO casq.build_signs AS s (build_id, attempt, heard_at) SELECT id, attempt, clock_timestamp() FROM begun
ON CONFLICT (build_id) DO UPDATE SET attempt = excluded.attempt, heard_at = excluded.heard_at

-- name: Finish
-- Ends an attempt as its runner says, $3; one that was told to stop is canceled whatever
-- its runner says. What it is then comes back, also when it had ended before.
WITH ended AS (
    UPDATE casq.builds
    SET status = CASE WHEN status = 'canceling' THEN 'canceled' ELSE $3 END,
        failure_reason = $4, exit_code = $5, started_at = coalesce(started_at, clock_timestamp())
    WHERE id = $1 AND token_hash = $2 AND status IN ('running', 'canceling')
    RETURNING status
)
SELECT coalesce((SELECT status FROM ended), (SELECT status FROM casq.builds WHERE id = $1 AND token_hash = $2))

-- name: Fail
-- Ends an attempt that cannot be handed out.
UPDATE casq.builds SET status = 'failed', failure_reason = 'runner_unsupported', message = $3
WHERE id = $1 AND token_hash = $2 AND status = 'running'

-- name: Heard
-- Notes when the builds $1, in their attempts $2, were last heard of: $3 seconds ago. What
-- another process is writing down just now is passed over.
UPDATE casq.build_signs AS s SET heard_at = h.at
FROM (
    SELECT s.build_id, clock_timestamp() - make_interval(secs => h.ago) AS at
    FROM unnest($1::bigint[], $2::integer[], $3::float8[]) AS h (build, attempt, ago)
    JOIN casq.build_signs AS s ON s.build_id = h.build AND s.attempt = h.attempt
    ORDER BY s.build_id FOR NO KEY UPDATE OF s SKIP LOCKED
) AS h
WHERE s.build_id = h.build_id AND s.heard_at < h.at

-- name: BringBack
-- After a failover to a server whose clock is behind, builds were handed out, and runners
-- heard of, in the future: they would wait until the clock is there. It counts as now; a
-- runner that has shown no sign of life has the $1 seconds anew.
WITH ahead AS (
    SELECT b.id FROM casq.builds AS b
    WHERE b.status IN ('running', 'canceling')
      AND (greatest(b.assigned_at, b.started_at) > clock_timestamp() OR b.start_by > clock_timestamp() + make_interval(secs => $1))
    ORDER BY b.id LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
), builds AS (
    UPDATE casq.builds AS b
    SET assigned_at = least(b.assigned_at, clock_timestamp()), started_at = least(b.started_at, clock_timestamp()),
        start_by = least(b.start_by, clock_timestamp() + make_interval(secs => $1))
    FROM ahead WHERE b.id = ahead.id
), heard AS (
    SELECT s.build_id FROM casq.builds AS b JOIN casq.build_signs AS s ON s.build_id = b.id
    WHERE b.status IN ('running', 'canceling') AND s.heard_at > clock_timestamp()
    ORDER BY s.build_id LIMIT 1000 FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE casq.build_signs AS s SET heard_at = clock_timestamp() FROM heard WHERE s.build_id = heard.build_id

-- name: Overdue
-- The attempts that have to end: those whose runner has shown no sign of life in time,
-- those that took longer than they may by $1 seconds, and, if $3, those that nothing was
-- heard of for $2 seconds.
SELECT b.id, b.attempt, b.status, CASE
    WHEN b.started_at IS NULL AND b.status = 'running' THEN 'undelivered'
    WHEN b.assigned_at + make_interval(secs => b.timeout + $1) < clock_timestamp() THEN 'late'
    ELSE 'silent' END
FROM casq.builds AS b
LEFT JOIN casq.build_signs AS s ON s.build_id = b.id AND s.attempt = b.attempt
WHERE b.status IN ('running', 'canceling') AND CASE
    WHEN b.started_at IS NULL AND b.status = 'running' THEN b.start_by < clock_timestamp()
    ELSE b.assigned_at + make_interval(secs => b.timeout + $1) < clock_timestamp()
        OR ($3 AND greatest(b.assigned_at, b.started_at, s.heard_at) + make_interval(secs => $2) < clock_timestamp())
    END
ORDER BY b.id LIMIT 1000

-- name: Roomy
-- The projects that have builds held though there is room for them, from project to project
-- by the index.
WITH RECURSIVE holds AS (
    (SELECT project_id FROM casq.builds WHERE held ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT b.project_id FROM holds CROSS JOIN LATERAL (
        SELECT b.project_id FROM casq.builds AS b WHERE b.held AND b.project_id > holds.project_id
        ORDER BY b.project_id LIMIT 1
    ) AS b
)
SELECT p.id FROM holds JOIN casq.projects AS p ON p.id = holds.project_id
WHERE p.max_running IS NULL OR p.max_running > (
    SELECT count(*) FROM (
        SELECT FROM casq.builds AS b
        WHERE b.project_id = p.id AND NOT b.held AND b.status IN ('pending', 'running', 'canceling') LIMIT p.max_running
    ) AS b)

-- name: Admit
SELECT casq.admit_builds($1)

-- name: Requeue
-- A build that a transaction holds is passed over, here and in Overrun.
UPDATE casq.builds SET status = 'pending', message = 'its runner showed no sign of life'
WHERE id = (SELECT b.id FROM casq.builds AS b
    WHERE b.id = $1 AND b.attempt = $2 AND b.status = 'running' AND b.started_at IS NULL FOR NO KEY UPDATE SKIP LOCKED)

-- name: Overrun
-- Ends an attempt for the reason $3, of which $4 tells.
UPDATE casq.builds SET status = CASE status WHEN 'canceling' THEN 'canceled' ELSE 'failed' END,
    failure_reason = CASE status WHEN 'canceling' THEN NULL ELSE $3 END, message = $4
WHERE id = (SELECT b.id FROM casq.builds AS b
    WHERE b.id = $1 AND b.attempt = $2 AND b.status IN ('running', 'canceling') FOR NO KEY UPDATE SKIP LOCKED)

-- name: RunnerOf
-- The runner that a token, by its hash, stands for.
SELECT id, description, tags, run_untagged, projects, paused, max_running IS NOT NULL, token_expires_at
FROM casq.runners WHERE token_hash = $1 AND (token_expires_at IS NULL OR token_expires_at > clock_timestamp())

-- name: Contacted
-- Notes when the processes of runners (their runners $1 and systems $2) were last heard of,
-- $4 seconds ago, and what they said of themselves, $3. Other processes of these runners
-- that were not heard of for a week are no more: each new one has a name of its own. A new
-- process of a runner whose row a transaction holds is noted the next time.
WITH gone AS (
    DELETE FROM casq.runner_managers AS m
    WHERE m.runner_id = ANY ($1) AND m.contacted_at < clock_timestamp() - interval '7 days'
        AND NOT EXISTS (SELECT FROM unnest($1::bigint[], $2::text[]) AS c (runner, system)
            WHERE c.runner = m.runner_id AND c.system = m.system_id)
)
INSERT INTO casq.runner_managers AS m (runner_id, system_id, info, contacted_at)
SELECT c.runner, c.system, c.info, clock_timestamp() - make_interval(secs => c.ago)
FROM unnest($1::bigint[], $2::text[], $3::jsonb[], $4::float8[]) AS c (runner, system, info, ago)
WHERE EXISTS (SELECT FROM casq.runner_managers AS m WHERE m.runner_id = c.runner AND m.system_id = c.system)
   OR c.runner IN (SELECT r.id FROM casq.runners AS r WHERE r.id = ANY ($1) FOR KEY SHARE SKIP LOCKED)
ORDER BY c.runner, c.system
ON CONFLICT (runner_id, system_id) DO UPDATE SET info = excluded.info, contacted_at = excluded.contacted_at
WHERE excluded.contacted_at > m.contacted_at OR m.contacted_at > clock_timestamp()
