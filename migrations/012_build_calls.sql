-- What people and programs call about builds and runners, and views of them.
--
-- Lock: none. Deploy: at any time.

-- Raises unless a job is one that can be handed to a runner: what casq itself adds to
-- it is not in it, and what it needs to be told apart from a mistake is.
CREATE FUNCTION casq.check_job(job jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong text := CASE
        WHEN job IS NULL OR jsonb_typeof(job) <> 'object' THEN 'it is no object'
        WHEN octet_length(job::text) > 1048576 THEN 'it has more than 1 MiB'
        WHEN jsonb_typeof(job -> 'steps') IS DISTINCT FROM 'array' OR job -> 'steps' = '[]' THEN 'steps is no list of steps'
        WHEN jsonb_path_exists(job, 'strict $.steps[*] ? (!exists(@.script[*] ? (@.type() == "string")))', '{}', true) THEN 'a step has no script'
        WHEN job ?| ARRAY['id', 'token', 'job_info', 'runner_info', 'dependencies'] THEN 'id, token, job_info, runner_info and dependencies are casq''s to say'
        WHEN job ? 'variables' AND jsonb_typeof(job -> 'variables') <> 'array' THEN 'variables is no list'
        WHEN job ? 'artifacts' AND jsonb_typeof(job -> 'artifacts') NOT IN ('array', 'null') THEN 'artifacts is no list'
    END;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'casq: this is no job that a runner can be given: %', wrong
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The smallest is {"steps": [{"name": "script", "script": ["make test"]}]}.';
    END IF;
END $$;

-- A token: 244 random bits.
CREATE FUNCTION casq.new_runner_token() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'glrt-' || replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
$$;

-- Sorted, each once.
CREATE FUNCTION casq.sort_tags(tags text[]) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM unnest(tags) AS t (tag) WHERE tag IS NULL OR octet_length(tag) NOT BETWEEN 1 AND 255 OR tag ~ '[[:cntrl:],]' OR tag <> btrim(tag))
        OR cardinality(tags) > 50
    THEN
        RAISE EXCEPTION 'casq: these tags cannot be: %', left(tags::text, 200)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'At most 50 tags, each of 1 to 255 bytes, without commas, control characters, or blanks at its ends.';
    END IF;
    RETURN ARRAY(SELECT DISTINCT tag COLLATE "C" FROM unnest(tags) AS t (tag) ORDER BY 1);
END $$;

-- Makes a runner. Its token is returned, this once.
CREATE FUNCTION casq.create_runner(
    description text,
    tags text[] DEFAULT '{}',
    run_untagged boolean DEFAULT NULL, -- unless it has tags
    projects bigint[] DEFAULT NULL,
    max_running integer DEFAULT NULL,
    paused boolean DEFAULT false,
    max_timeout integer DEFAULT NULL,
    OUT id bigint,
    OUT token text
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    token := casq.new_runner_token();
    INSERT INTO casq.runners AS r (token_hash, description, tags, run_untagged, projects, max_running, paused, max_timeout)
    VALUES (sha256(convert_to(token, 'UTF8')), create_runner.description, casq.sort_tags(create_runner.tags),
            coalesce(create_runner.run_untagged, cardinality(create_runner.tags) = 0), create_runner.projects,
            create_runner.max_running, create_runner.paused, create_runner.max_timeout)
    RETURNING r.id INTO create_runner.id;
END $$;
COMMENT ON FUNCTION casq.create_runner IS
    'Makes a runner, and returns its number and token: the token is shown this once, only its '
    'SHA-256 is kept. run_untagged: whether it takes builds without tags; if it is not said, '
    'where it has no tags. projects: those whose builds it takes; NULL: all. max_timeout in '
    'seconds.';

-- Gives a runner another token, returned this once, which is valid for as long as the one
-- before was to be. That is refused from then on.
CREATE FUNCTION casq.reset_runner_token(runner bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    token text := casq.new_runner_token();
BEGIN
    UPDATE casq.runners SET token_hash = sha256(convert_to(token, 'UTF8')),
        token_created_at = now(), token_expires_at = now() + (token_expires_at - token_created_at)
    WHERE id = runner;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: there is no runner %', runner USING ERRCODE = 'no_data_found';
    END IF;
    RETURN token;
END $$;
COMMENT ON FUNCTION casq.reset_runner_token IS
    'Gives a runner another token, returned this once; the one before is refused from then '
    'on. Errors: no_data_found.';

-- Begins a pipeline. Its project is made known by that. It holds the project until the
-- transaction ends, so call it late.
CREATE FUNCTION casq.begin_pipeline(project bigint, ref text DEFAULT '', sha text DEFAULT '') RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pipeline bigint;
BEGIN
    INSERT INTO casq.projects (id) VALUES (project) ON CONFLICT DO NOTHING;
    INSERT INTO casq.pipelines AS p (project_id, ref, sha) VALUES (project, begin_pipeline.ref, begin_pipeline.sha)
    RETURNING p.id INTO pipeline;
    RETURN pipeline;
END $$;
COMMENT ON FUNCTION casq.begin_pipeline IS
    'Begins a pipeline of a project, and returns its number. The project is made known by '
    'that. It holds the project until the transaction ends, so call it late.';

-- Adds a build to a pipeline, and returns its id. It needs builds of that pipeline, by id.
CREATE FUNCTION casq.add_build(
    pipeline bigint,
    name text,
    job jsonb,
    tags text[] DEFAULT '{}',
    needs bigint[] DEFAULT '{}',
    stage text DEFAULT 'test',
    priority integer DEFAULT 0,
    timeout integer DEFAULT 3600,
    allow_failure boolean DEFAULT false
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted text[] := casq.sort_tags(tags);
    of_project bigint;
    p casq.projects;
    set_id integer;
    build bigint;
    met boolean;
    others integer;
    last_turn bigint;
BEGIN
    SELECT l.project_id INTO of_project FROM casq.pipelines AS l WHERE l.id = pipeline;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: there is no pipeline %', pipeline
            USING ERRCODE = 'no_data_found', HINT = 'SELECT casq.begin_pipeline(project) makes one.';
    END IF;
    PERFORM casq.check_job(job);
    -- Until this transaction ends none of them ends without seeing the new build.
    SELECT count(*) INTO others FROM (
        SELECT FROM casq.builds AS b WHERE b.id = ANY (needs) AND b.pipeline_id = pipeline ORDER BY b.id FOR SHARE
    ) AS held;
    IF others <> (SELECT count(DISTINCT n) FROM unnest(needs) AS n) THEN
        RAISE EXCEPTION 'casq: build % needs what is not in its pipeline', quote_literal(name)
            USING ERRCODE = 'foreign_key_violation',
                  DETAIL = format('It needs %s; pipeline %s has %s of them.', array_to_string(needs, ', '), pipeline, others),
                  HINT = 'A build needs others of its pipeline, which are added before it.';
    END IF;
    SELECT * INTO p FROM casq.projects AS w WHERE w.id = of_project FOR NO KEY UPDATE;
    SELECT count(*), max(waiting.turn) INTO others, last_turn FROM (
        SELECT b.turn FROM casq.builds AS b
        WHERE b.project_id = of_project AND b.status IN ('created', 'pending') LIMIT p.max_waiting
    ) AS waiting;
    IF others >= p.max_waiting THEN
        RAISE EXCEPTION 'casq: project % has % builds that wait, and may have no more', of_project, others
            USING ERRCODE = 'configuration_limit_exceeded',
                  HINT = format('Wait until some are done, cancel some, or raise casq.projects.max_waiting of project %s.', of_project);
    END IF;
    UPDATE casq.projects AS w
    SET newest_turn = greatest(extract(epoch FROM clock_timestamp())::numeric * 1000000, last_turn + 60000000)
    WHERE w.id = of_project RETURNING * INTO p;
    SELECT s.id INTO set_id FROM casq.tag_sets AS s WHERE s.tags = wanted;
    IF NOT FOUND THEN -- First a question: a conflict draws an id, too.
        INSERT INTO casq.tag_sets AS s (tags) VALUES (wanted) ON CONFLICT DO NOTHING;
        SELECT s.id INTO STRICT set_id FROM casq.tag_sets AS s WHERE s.tags = wanted;
    END IF;
    INSERT INTO casq.builds AS b (pipeline_id, project_id, name, stage, status, held, tag_set, priority, turn, job, timeout, allow_failure)
    VALUES (pipeline, of_project, add_build.name, add_build.stage,
            CASE WHEN cardinality(needs) = 0 THEN 'pending' ELSE 'created' END,
            cardinality(needs) = 0 AND p.max_running IS NOT NULL,
            set_id, add_build.priority, p.newest_turn, add_build.job, add_build.timeout, add_build.allow_failure)
    RETURNING b.id INTO build;
    IF cardinality(needs) = 0 THEN
        RETURN build;
    END IF;
    INSERT INTO casq.build_needs (build_id, needs_id) SELECT DISTINCT build, n FROM unnest(needs) AS n;
    met := casq.needs_are_met(build);
    IF met THEN
        PERFORM casq.queue_build(build);
    ELSIF NOT met THEN
        UPDATE casq.builds SET status = 'skipped', message = 'a build that it needs has not succeeded' WHERE id = build;
    END IF;
    RETURN build;
END $$;
COMMENT ON FUNCTION casq.add_build IS
    'Adds a build to a pipeline, and returns its number; it is handed out when the '
    'transaction has committed and all builds that it needs have succeeded. job: what the '
    'runner does, at the least {"steps": [{"name": "script", "script": ["make test"]}]}, up '
    'to 1 MiB. tags: a runner has to have all of them. needs: builds of the same pipeline. '
    'priority: higher ones first, -32768 to 32767. timeout in seconds. Errors: no_data_found '
    'for the pipeline; invalid_parameter_value for job or tags; foreign_key_violation for '
    'needs; configuration_limit_exceeded where the project has too many that wait.';

-- Cancels a build, and says what became of it. One whose runner has shown a sign of life
-- is canceling until the runner has stopped; any other is canceled at once.
CREATE FUNCTION casq.cancel_build(build bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b casq.builds;
BEGIN
    SELECT * INTO b FROM casq.builds AS w WHERE w.id = build FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: there is no build %', build USING ERRCODE = 'no_data_found';
    ELSIF b.finished_at IS NOT NULL THEN
        RAISE EXCEPTION 'casq: build % has ended: %', build, b.status
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'There is nothing left to cancel.';
    ELSIF b.status = 'running' AND b.started_at IS NOT NULL THEN
        UPDATE casq.builds AS w SET status = 'canceling', message = 'canceled' WHERE w.id = build RETURNING * INTO b;
    ELSIF b.status <> 'canceling' THEN
        UPDATE casq.builds AS w SET status = 'canceled', held = false, message = 'canceled' WHERE w.id = build RETURNING * INTO b;
    END IF;
    RETURN b.status;
END $$;
COMMENT ON FUNCTION casq.cancel_build IS
    'Cancels a build, and returns its status: canceling until its runner has stopped it, '
    'canceled at once where no runner has shown a sign of life. Errors: no_data_found; '
    'object_not_in_prerequisite_state where it has ended.';

-- Queues a build that has ended anew, and what was skipped for it, and says what it is
-- now.
CREATE FUNCTION casq.retry_build(build bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b casq.builds;
    again bigint[];
    one bigint;
    met boolean;
BEGIN
    -- Of a pipeline one retry comes after the other: what two lock is not in one order.
    PERFORM FROM casq.pipelines AS l
    WHERE l.id = (SELECT w.pipeline_id FROM casq.builds AS w WHERE w.id = build) FOR NO KEY UPDATE;
    SELECT * INTO b FROM casq.builds AS w WHERE w.id = build FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: there is no build %', build USING ERRCODE = 'no_data_found';
    ELSIF b.finished_at IS NULL THEN
        RAISE EXCEPTION 'casq: build % has not ended: %', build, b.status
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('SELECT casq.cancel_build(%s) ends it.', build);
    END IF;
    SELECT array_agg(s.id ORDER BY s.id) INTO again FROM (
        WITH RECURSIVE below (id) AS (
            SELECT build UNION SELECT n.build_id FROM below JOIN casq.build_needs AS n ON n.needs_id = below.id
        )
        SELECT w.id FROM casq.builds AS w JOIN below USING (id)
        WHERE w.status = 'skipped' OR w.id = build ORDER BY w.id FOR NO KEY UPDATE OF w
    ) AS s;
    -- Those that they need are held, so that none ends between the question and the answer.
    PERFORM FROM casq.builds AS w WHERE w.id IN (SELECT n.needs_id FROM casq.build_needs AS n WHERE n.build_id = ANY (again))
    ORDER BY w.id FOR SHARE;
    FOREACH one IN ARRAY again LOOP
        met := casq.needs_are_met(one);
        IF met IS NOT FALSE THEN
            UPDATE casq.builds AS w SET status = 'created', message = '' WHERE w.id = one;
        ELSIF one = build THEN
            RAISE EXCEPTION 'casq: build % needs one that has not succeeded', build
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Retry that one: what was skipped for it comes along.';
        END IF;
        IF met THEN
            PERFORM casq.queue_build(one);
        END IF;
    END LOOP;
    SELECT * INTO b FROM casq.builds AS w WHERE w.id = build;
    RETURN b.status;
END $$;
COMMENT ON FUNCTION casq.retry_build IS
    'Queues a build that has ended anew, with what was skipped for it, and returns its '
    'status. Errors: no_data_found; object_not_in_prerequisite_state where it has not ended, '
    'or needs one that has not succeeded.';

-- Pipelines that stand still: none, at all times. In words: some builds have ended, some
-- wait for them, and nothing runs.
CREATE VIEW casq.stuck_pipelines AS
SELECT b.pipeline_id, min(b.project_id) AS project_id, min(b.id) AS build
FROM casq.builds AS b
WHERE b.status = 'created'
  AND NOT EXISTS (SELECT FROM casq.builds AS o WHERE o.pipeline_id = b.pipeline_id AND o.status IN ('pending', 'running', 'canceling'))
GROUP BY b.pipeline_id;

COMMENT ON VIEW casq.stuck_pipelines IS
    'Pipelines in which a build waits for others and none of them can end: empty at all '
    'times, or something is wrong.';
COMMENT ON COLUMN casq.stuck_pipelines.pipeline_id IS 'the pipeline';
COMMENT ON COLUMN casq.stuck_pipelines.project_id IS 'its project';
COMMENT ON COLUMN casq.stuck_pipelines.build IS 'the first build that waits';

-- The queue, by the tags that its builds ask for.
CREATE VIEW casq.build_queue AS
SELECT s.tags, count(*) AS builds, min(b.pending_at) AS oldest_since,
       (SELECT count(*) FROM casq.runners AS r
        WHERE NOT r.paused AND CASE WHEN s.tags = '{}' THEN r.run_untagged ELSE s.tags <@ r.tags END) AS runners
FROM casq.builds AS b JOIN casq.tag_sets AS s ON s.id = b.tag_set
WHERE b.in_queue
GROUP BY s.id, s.tags;

COMMENT ON VIEW casq.build_queue IS 'The builds that wait for a runner, by the tags that they ask for.';
COMMENT ON COLUMN casq.build_queue.tags IS 'what a runner has to have, all of them';
COMMENT ON COLUMN casq.build_queue.builds IS 'how many wait';
COMMENT ON COLUMN casq.build_queue.oldest_since IS 'since when the one that has waited longest';
COMMENT ON COLUMN casq.build_queue.runners IS 'runners that are not paused and have the tags; a runner that is limited to projects counts, too';

-- The runners: when they were last heard of, and what they have.
CREATE VIEW casq.runner_status AS
SELECT r.id, r.description, r.tags, r.run_untagged, r.projects, r.paused, r.max_running,
       m.processes, m.contacted_at, coalesce(b.running, 0) AS running,
       coalesce(b.not_begun, 0) AS not_begun -- handed out, without a sign of life yet
FROM casq.runners AS r
LEFT JOIN LATERAL (
    SELECT count(*) AS processes, max(m.contacted_at) AS contacted_at FROM casq.runner_managers AS m WHERE m.runner_id = r.id
) AS m ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS running, count(*) FILTER (WHERE b.started_at IS NULL) AS not_begun
    FROM casq.builds AS b WHERE b.runner_id = r.id AND b.status IN ('running', 'canceling')
) AS b ON true;

COMMENT ON VIEW casq.runner_status IS 'The runners, and what they have.';
COMMENT ON COLUMN casq.runner_status.id IS 'number of the runner';
COMMENT ON COLUMN casq.runner_status.description IS 'what it was called when it was made';
COMMENT ON COLUMN casq.runner_status.tags IS 'tags that it has';
COMMENT ON COLUMN casq.runner_status.run_untagged IS 'whether it takes builds without tags';
COMMENT ON COLUMN casq.runner_status.projects IS 'projects that it is limited to; NULL: none';
COMMENT ON COLUMN casq.runner_status.paused IS 'whether it gets no builds';
COMMENT ON COLUMN casq.runner_status.max_running IS 'how many builds it may have at once; NULL: any number';
COMMENT ON COLUMN casq.runner_status.processes IS 'machines that have registered with its token';
COMMENT ON COLUMN casq.runner_status.contacted_at IS 'when one of them was last heard of, to a minute';
COMMENT ON COLUMN casq.runner_status.running IS 'builds that it has';
COMMENT ON COLUMN casq.runner_status.not_begun IS 'of these, those of which it has not shown a sign of life yet';

-- In words: what a build waits for, or what became of it.
CREATE FUNCTION casq.why_build(build bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b casq.builds;
    wanted text[];
    called text;
    fit record;
    its_runner text;
BEGIN
    SELECT * INTO b FROM casq.builds AS w WHERE w.id = build;
    its_runner := coalesce('runner ' || b.runner_id, 'a runner that was deleted since');
    IF NOT FOUND THEN
        RETURN format('There is no build %s.', build);
    END IF;
    CASE b.status
    WHEN 'created' THEN
        RETURN (SELECT format('It waits for %s.', string_agg(format('build %s (%s, %s)', o.id, o.name, o.status), ', ' ORDER BY o.id))
                FROM casq.build_needs AS n JOIN casq.builds AS o ON o.id = n.needs_id
                WHERE n.build_id = b.id AND o.finished_at IS NULL);
    WHEN 'running' THEN
        RETURN format(CASE WHEN b.started_at IS NULL THEN 'It was handed to %s %s ago, which has not shown a sign of life. Without one by %s it is handed out again.'
                           ELSE '%s has been running it for %s.' END,
                      CASE WHEN b.started_at IS NULL THEN its_runner ELSE initcap(left(its_runner, 1)) || substr(its_runner, 2) END, date_trunc('second', clock_timestamp() - coalesce(b.started_at, b.assigned_at)), b.start_by);
    WHEN 'canceling' THEN
        RETURN format('It is canceled as soon as %s has stopped it.', its_runner);
    WHEN 'pending' THEN
        NULL;
    ELSE
        RETURN format('It ended %s ago: %s%s%s.', date_trunc('second', clock_timestamp() - b.finished_at), b.status,
                      coalesce(', ' || b.failure_reason, ''), CASE WHEN b.message <> '' THEN ' (' || b.message || ')' ELSE '' END);
    END CASE;
    IF b.held THEN
        RETURN (SELECT format('Project %s has as many builds queued or running as it may have: %s.', p.id, p.max_running)
                FROM casq.projects AS p WHERE p.id = b.project_id);
    END IF;
    SELECT s.tags INTO wanted FROM casq.tag_sets AS s WHERE s.id = b.tag_set;
    called := CASE WHEN wanted = '{}' THEN 'that take builds without tags' ELSE format('with the tags %s', array_to_string(wanted, ', ')) END;
    SELECT count(*) AS runners,
           count(*) FILTER (WHERE of_project) AS of_project,
           count(*) FILTER (WHERE of_project AND NOT paused) AS active,
           count(*) FILTER (WHERE of_project AND NOT paused AND room) AS free,
           count(*) FILTER (WHERE of_project AND NOT paused AND room AND heard) AS heard,
           string_agg(id::text, ', ' ORDER BY id) AS ids
    INTO fit FROM (
        SELECT r.id, r.paused, coalesce(b.project_id = ANY (r.projects), true) AS of_project,
               r.max_running IS NULL OR r.max_running > (SELECT count(*) FROM casq.builds AS o
                   WHERE o.runner_id = r.id AND o.status IN ('running', 'canceling')) AS room,
               EXISTS (SELECT FROM casq.runner_managers AS m WHERE m.runner_id = r.id AND m.contacted_at > clock_timestamp() - interval '3 minutes') AS heard
        FROM casq.runners AS r
        WHERE (CASE WHEN wanted = '{}' THEN r.run_untagged ELSE wanted <@ r.tags END)
          AND (r.token_expires_at IS NULL OR r.token_expires_at > clock_timestamp())
    ) AS r;
    RETURN CASE
        WHEN fit.runners = 0 THEN format('There are no runners %s.', called)
        WHEN fit.of_project = 0 THEN format('None of the runners %s is for project %s: %s.', called, b.project_id, fit.ids)
        WHEN fit.active = 0 THEN format('All runners %s are paused: %s.', called, fit.ids)
        WHEN fit.free = 0 THEN format('All runners %s have as many builds as they may have: %s.', called, fit.ids)
        WHEN fit.heard = 0 THEN format('None of the runners %s has been heard of within 3 minutes: %s.', called, fit.ids)
        ELSE format('It is in the queue; %s builds with its tags are before it.', (
            SELECT count(*) FROM (SELECT FROM casq.builds AS o WHERE o.tag_set = b.tag_set AND o.in_queue
                AND (-o.priority, o.turn, o.id) < (-b.priority, b.turn, b.id) LIMIT 10000) AS before))
    END;
END $$;
COMMENT ON FUNCTION casq.why_build IS 'Tells in words what a build waits for, or what became of it. Never NULL.';

---- create above / drop below ----

-- Lock: none. Deploy: when nobody queues builds. None is lost.
DROP FUNCTION casq.why_build(bigint);
DROP VIEW casq.runner_status;
DROP VIEW casq.build_queue;
DROP VIEW casq.stuck_pipelines;
DROP FUNCTION casq.retry_build(bigint);
DROP FUNCTION casq.cancel_build(bigint);
DROP FUNCTION casq.add_build(bigint, text, jsonb, text[], bigint[], text, integer, integer, boolean);
DROP FUNCTION casq.begin_pipeline(bigint, text, text);
DROP FUNCTION casq.reset_runner_token(bigint);
DROP FUNCTION casq.create_runner(text, text[], boolean, bigint[], integer, boolean, integer);
DROP FUNCTION casq.sort_tags(text[]);
DROP FUNCTION casq.new_runner_token();
DROP FUNCTION casq.check_job(jsonb);
