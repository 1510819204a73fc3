-- name: Impatient
-- For one transaction: see Coordinator.change.
SELECT set_config('lock_timeout', '250ms', true)

-- name: ByIndex
-- For one transaction that picks, or asks whether there is anything to pick: a plan is made
-- once for a session, as to make one takes twice as long as to pick. What it is made of must
-- not matter then: the table may have been empty, and its statistics of last year. So the
-- statements are written so that each of their scans has one index that is right, whatever
-- the table has; here the planner loses what it takes for cheaper while tables are small.
--
-- A runner's row is not waited for: see LockRunner.
SELECT set_config('lock_timeout', '250ms', true), set_config('plan_cache_mode', 'force_generic_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
    set_config('enable_bitmapscan', 'off', true), set_config('enable_indexscan', 'on', true), set_config('enable_nestloop', 'on', true)

-- name: LockRunner
-- Of a runner with a limit one pick comes after the other, so that it is kept. A transaction
-- that holds its row, and is left open, holds up that runner, and not all picks of this
-- process.
SELECT FROM casq.runners WHERE id = $1 AND max_running IS NOT NULL FOR NO KEY UPDATE

-- name: Pick
-- Hands the first build in the queue that the runner $1 takes to it, with the job token's
-- hash $3. Whether the runner may have one comes with it, also when there is none: it is
-- known by its own token's hash $2, so that one that was reset meanwhile gets nothing.
--
-- For each set of tags that it has the tags of, and each of its projects if it is limited
-- to some, the first of the queue are found by the index, however much lies before
-- them that is not for it. One that another pick has locked is passed over. The rows of a
-- project are compared in a way that the index which begins with the tags does not know: a
-- planner that takes the project for a common one would read that of all projects.
--
-- Each of them is then locked by its id, in their order, until one is: a subquery that locks
-- is not joined in another way. That it still waits is said so that no index of what waits
-- seems to be of use.
--
-- $4 is for how many seconds the runner may show no sign of life, $5 its system's id, $6
-- what it understands.
WITH runner AS (
    SELECT r.*, CASE WHEN r.max_running IS NOT NULL THEN r.max_running <= (
               SELECT count(*) FROM casq.builds AS b
               WHERE b.runner_id = r.id AND b.status IN ('running', 'canceling')) END AS is_full
    FROM casq.runners AS r
    WHERE r.id = $1 AND r.token_hash = $2 AND (r.token_expires_at IS NULL OR r.token_expires_at > clock_timestamp())
), sets AS (
    SELECT s.id, r.projects FROM runner AS r CROSS JOIN LATERAL casq.tag_sets_within(r.tags, r.run_untagged) AS s (id)
    WHERE NOT r.paused AND r.is_full IS NOT TRUE
), heads AS (
    SELECT h.* FROM (
        SELECT h.* FROM sets CROSS JOIN LATERAL (
            SELECT b.id, b.priority, b.turn FROM casq.builds AS b
            WHERE b.tag_set = sets.id AND b.in_queue
            ORDER BY b.priority DESC, b.turn, b.id LIMIT 16
        ) AS h WHERE sets.projects IS NULL
        UNION ALL
        SELECT h.* FROM sets CROSS JOIN LATERAL unnest(sets.projects) AS project CROSS JOIN LATERAL (
            SELECT b.id, b.priority, b.turn FROM casq.builds AS b
            WHERE (b.project_id, b.tag_set) >= (project, sets.id) AND (b.project_id, b.tag_set) <= (project, sets.id)
              AND b.in_queue
            ORDER BY b.project_id, b.tag_set, b.priority DESC, b.turn, b.id LIMIT 16
        ) AS h
    ) AS h
    ORDER BY h.priority DESC, h.turn, h.id LIMIT 16
), first AS (
    SELECT b.id FROM heads CROSS JOIN LATERAL (
        SELECT b.id FROM casq.builds AS b
        WHERE b.id = heads.id AND CASE WHEN b.in_queue THEN true END
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS b LIMIT 1
), taken AS (
    UPDATE casq.builds AS b
    SET status = 'running', attempt = b.attempt + 1, runner_id = $1, system_id = $5, token_hash = $3,
        features = $6, assigned_at = clock_timestamp(),
        start_by = clock_timestamp() + make_interval(secs => $4)
    WHERE b.id = (SELECT first.id FROM first)
    RETURNING b.*
)
SELECT r.id IS NOT NULL, coalesce(r.paused, false), coalesce(r.is_full, false), r.max_timeout,
       t.id, t.attempt, t.pipeline_id, t.project_id, p.path, t.name, t.stage, t.job, t.timeout,
       extract(epoch FROM t.assigned_at - t.pending_at)::float8,
       EXISTS (SELECT FROM casq.build_needs AS n WHERE n.build_id = t.id AND n.artifacts)
FROM (VALUES (1)) AS one LEFT JOIN runner AS r ON true LEFT JOIN taken AS t ON true
LEFT JOIN casq.projects AS p ON p.id = t.project_id

-- name: PickTogether
-- Picks for several requests of one class: with the tags $6, taking those without tags if $7,
-- of the projects $8 if not NULL. They are those of the runners $1 by their tokens' hashes $2,
-- in the order in which they came, and the first gets the first build. $3 are the job tokens'
-- hashes, $4 their systems, $5 what they understand, and $9 is as $4 in Pick.
--
-- A runner that is not of this class any more, has a limit by now, is not known by its token,
-- or whose row somebody holds, does not fit: it is picked for by itself. Its row is locked as
-- the foreign key would, so that nothing in here waits for anybody, and the rest gets
-- its builds. Builds are looked for as in Pick, 16 more than there are requests.
WITH asked AS (
    SELECT a.place, a.token, a.system, a.features, r.id AS runner, r.max_timeout, coalesce(r.paused, false) AS paused,
           r.id IS NOT NULL AND r.max_running IS NULL AND r.tags = $6::text[] AND r.run_untagged = $7::boolean
               AND r.projects IS NOT DISTINCT FROM $8::bigint[] AS fits
    FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::text[], $5::jsonb[])
        WITH ORDINALITY AS a (runner, hash, token, system, features, place)
    LEFT JOIN LATERAL (
        SELECT r.* FROM casq.runners AS r
        WHERE r.id = a.runner AND r.token_hash = a.hash AND (r.token_expires_at IS NULL OR r.token_expires_at > clock_timestamp())
        FOR KEY SHARE SKIP LOCKED
    ) AS r ON true
), able AS (
    SELECT a.*, row_number() OVER (ORDER BY a.place) AS n FROM asked AS a WHERE a.fits AND NOT a.paused
), sets AS (
    SELECT s.id FROM casq.tag_sets_within($6::text[], $7::boolean) AS s (id)
), heads AS (
    SELECT h.* FROM (
        SELECT h.* FROM sets CROSS JOIN LATERAL (
            SELECT b.id, b.priority, b.turn FROM casq.builds AS b
            WHERE b.tag_set = sets.id AND b.in_queue
            ORDER BY b.priority DESC, b.turn, b.id LIMIT 16 + cardinality($1::bigint[])
        ) AS h WHERE $8::bigint[] IS NULL
        UNION ALL
        SELECT h.* FROM sets CROSS JOIN LATERAL unnest($8::bigint[]) AS project CROSS JOIN LATERAL (
            SELECT b.id, b.priority, b.turn FROM casq.builds AS b
            WHERE (b.project_id, b.tag_set) >= (project, sets.id) AND (b.project_id, b.tag_set) <= (project, sets.id)
              AND b.in_queue
            ORDER BY b.project_id, b.tag_set, b.priority DESC, b.turn, b.id LIMIT 16 + cardinality($1::bigint[])
        ) AS h
    ) AS h
    ORDER BY h.priority DESC, h.turn, h.id LIMIT 16 + cardinality($1::bigint[])
), first AS (
    SELECT f.id, row_number() OVER (ORDER BY f.priority DESC, f.turn, f.id) AS n FROM (
        SELECT heads.* FROM heads CROSS JOIN LATERAL (
            SELECT b.id FROM casq.builds AS b
            WHERE b.id = heads.id AND CASE WHEN b.in_queue THEN true END
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS b LIMIT (SELECT count(*) FROM able)
    ) AS f
), taken AS (
    UPDATE casq.builds AS b
    SET status = 'running', attempt = b.attempt + 1, runner_id = able.runner, system_id = able.system, token_hash = able.token,
        features = able.features, assigned_at = clock_timestamp(),
        start_by = clock_timestamp() + make_interval(secs => $9)
    FROM first JOIN able ON able.n = first.n
    WHERE b.id = first.id
    RETURNING able.place, b.id, b.attempt, b.pipeline_id, b.project_id, b.name, b.stage, b.job, b.timeout,
              extract(epoch FROM b.assigned_at - b.pending_at)::float8 AS waited
)
SELECT a.fits, a.paused, a.max_timeout, t.id, t.attempt, t.pipeline_id, t.project_id, p.path, t.name, t.stage, t.job, t.timeout, t.waited,
       EXISTS (SELECT FROM casq.build_needs AS n WHERE n.build_id = t.id AND n.artifacts)
FROM asked AS a LEFT JOIN taken AS t ON t.place = a.place LEFT JOIN casq.projects AS p ON p.id = t.project_id
ORDER BY a.place

-- name: Waits
-- Is there a build in the queue for a runner with the tags $1, which takes those without
-- tags if $2, of the projects $3 if not NULL? And does this host show the tick $4 with the
-- nonce $5? It is one snapshot: then it has everything that the tick shows.
--
-- For each set of tags its first row is asked for: for whether there is any, a planner may
-- read them all.
WITH sets AS (
    SELECT s.id FROM casq.tag_sets_within($1, $2) AS s (id)
)
SELECT EXISTS (
    SELECT FROM sets CROSS JOIN LATERAL (
        SELECT FROM casq.builds AS b
        WHERE b.tag_set = sets.id AND b.in_queue
        ORDER BY b.priority DESC, b.turn, b.id LIMIT 1
    ) AS b WHERE $3::bigint[] IS NULL
) OR EXISTS (
    SELECT FROM sets CROSS JOIN LATERAL unnest($3::bigint[]) AS project CROSS JOIN LATERAL (
        SELECT FROM casq.builds AS b
        WHERE (b.project_id, b.tag_set) >= (project, sets.id) AND (b.project_id, b.tag_set) <= (project, sets.id)
          AND b.in_queue
        ORDER BY b.project_id, b.tag_set, b.priority DESC, b.turn, b.id LIMIT 1
    ) AS b
), EXISTS (SELECT FROM casq.ticks WHERE id = $4 AND nonce = $5)

-- name: Queued
-- Which builds came into the queue after the one with the number $1? It is a hint: one
-- whose transaction committed late is found by the log.
SELECT queued, tag_set, project_id FROM casq.builds
WHERE in_queue AND queued > $1 ORDER BY queued LIMIT 1000

-- name: NewestQueued
SELECT coalesce(max(queued), 0) FROM casq.builds WHERE in_queue

-- name: Lanes
-- The pairs of tags and project that there are builds in the queue of, from pair to pair
-- by the index.
WITH RECURSIVE lane AS (
    (SELECT project_id, tag_set FROM casq.builds WHERE in_queue
     ORDER BY project_id, tag_set LIMIT 1)
    UNION ALL
    SELECT b.project_id, b.tag_set FROM lane CROSS JOIN LATERAL (
        SELECT b.project_id, b.tag_set FROM casq.builds AS b
        WHERE b.in_queue AND (b.project_id, b.tag_set) > (lane.project_id, lane.tag_set)
        ORDER BY b.project_id, b.tag_set LIMIT 1
    ) AS b
)
SELECT tag_set, project_id FROM lane LIMIT 1000

-- name: Still
-- Which of the pairs of tags $1 and project $2 have builds in the queue?
SELECT l.tag_set, l.project FROM (
    SELECT DISTINCT l.tag_set, l.project FROM unnest($1::integer[], $2::bigint[]) AS l (tag_set, project)
) AS l CROSS JOIN LATERAL (
    SELECT FROM casq.builds AS b
    WHERE (b.project_id, b.tag_set) >= (l.project, l.tag_set) AND (b.project_id, b.tag_set) <= (l.project, l.tag_set)
      AND b.in_queue
    ORDER BY b.project_id, b.tag_set, b.priority DESC, b.turn, b.id LIMIT 1
) AS b

-- name: TagSets
SELECT id, tags FROM casq.tag_sets WHERE id = ANY ($1)

-- name: GiveBack
-- Of an attempt whose runner has gone before it was told.
UPDATE casq.builds SET status = 'pending' WHERE id = $1 AND token_hash = $2 AND status = 'running' AND started_at IS NULL

-- name: GiveBackAll
-- Of attempts by the runners $1 with the tokens' hashes $2 which nobody was told. One that
-- somebody holds does not keep the others from being given back.
UPDATE casq.builds SET status = 'pending'
WHERE id IN (SELECT b.id FROM casq.builds AS b
    WHERE b.runner_id = ANY ($1) AND b.token_hash = ANY ($2) AND b.status = 'running' AND b.started_at IS NULL
    ORDER BY b.id FOR NO KEY UPDATE SKIP LOCKED)

-- name: Dependencies
-- The builds whose artifacts a build gets, of those that have left any: one that has failed,
-- and may, leaves what its job says.
SELECT o.id, o.name, a.filename, a.size FROM casq.build_needs AS n JOIN casq.builds AS o ON o.id = n.needs_id
JOIN casq.artifacts AS a ON a.build_id = o.id AND a.attempt = o.attempt AND a.type = 'archive'
WHERE n.build_id = $1 AND n.artifacts AND o.status IN ('success', 'failed')
  AND (a.expires_at IS NULL OR a.expires_at > clock_timestamp())
ORDER BY o.id
