-- Builds: what CI runners are to run, and which of them runs what.
--
-- Lock: none on existing objects. Deploy: at any time.

-- A project's share of the runners. Its id is the forge's own.
CREATE TABLE casq.projects (
    id bigint PRIMARY KEY
        CONSTRAINT projects_id_is_positive CHECK (id > 0),
    path text NOT NULL DEFAULT '',
    -- How many of its builds may be queued to runners or running; the others are held
    -- back, without a place in the queue. NULL is any.
    max_running integer
        CONSTRAINT projects_max_running_is_a_number CHECK (max_running >= 0),
    -- How many of its builds may be waiting at all; more are refused.
    max_waiting integer NOT NULL DEFAULT 10000
        CONSTRAINT projects_max_waiting_is_positive CHECK (max_waiting > 0),
    -- The turn of its newest build, see casq.builds. It is written with each, so that an
    -- old snapshot, which does not show how many wait, is refused.
    newest_turn bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE casq.projects IS
    'Projects that have builds, with their limits. Made by casq.begin_pipeline; the limits '
    'are changed by UPDATE.';
COMMENT ON COLUMN casq.projects.id IS 'the forge''s own number';
COMMENT ON COLUMN casq.projects.path IS 'the forge''s name of it';
COMMENT ON COLUMN casq.projects.max_running IS 'how many of its builds may be with runners at once; NULL: any number';
COMMENT ON COLUMN casq.projects.max_waiting IS 'how many of its builds may wait; more are refused';
COMMENT ON COLUMN casq.projects.newest_turn IS 'place of its newest build in the queue';
COMMENT ON COLUMN casq.projects.created_at IS 'when it was first named';

-- The sets of tags that builds ask for, each once: they are few, however many builds
-- there are, so that a runner finds those that it has the tags of at once.
CREATE TABLE casq.tag_sets (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tags text[] COLLATE "C" NOT NULL UNIQUE
);
CREATE INDEX tag_sets_tags ON casq.tag_sets USING gin (tags);

COMMENT ON TABLE casq.tag_sets IS 'The sets of tags that builds ask for, each once.';

-- The sets of tags that a runner takes which has the tags, and takes builds without tags if
-- so. It is a function for the sake of its plan, which is made once for a session: only a
-- bitmap reads that index, and of builds a pick may not read one.
CREATE FUNCTION casq.tag_sets_within(tags text[], untagged boolean) RETURNS SETOF integer
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = on AS $$
BEGIN
    RETURN QUERY SELECT s.id FROM casq.tag_sets AS s
        WHERE s.tags && tag_sets_within.tags AND s.tags <@ tag_sets_within.tags;
    IF untagged THEN
        RETURN QUERY SELECT s.id FROM casq.tag_sets AS s WHERE s.tags = '{}';
    END IF;
END $$;

-- A runner's token is known by its SHA-256 only.
CREATE TABLE casq.runners (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE
        CONSTRAINT runners_token_hash_is_sha256 CHECK (octet_length(token_hash) = 32),
    token_created_at timestamptz NOT NULL DEFAULT now(),
    token_expires_at timestamptz, -- NULL: never
    description text NOT NULL DEFAULT '',
    tags text[] COLLATE "C" NOT NULL DEFAULT '{}',
    run_untagged boolean NOT NULL DEFAULT true,
    -- The projects whose builds it takes. NULL is all.
    projects bigint[],
    paused boolean NOT NULL DEFAULT false,
    -- How many builds it may run at once, in all its processes. NULL is any.
    max_running integer
        CONSTRAINT runners_max_running_is_positive CHECK (max_running > 0),
    -- The longest that a build may take on it, in seconds. NULL is any.
    max_timeout integer
        CONSTRAINT runners_max_timeout_is_positive CHECK (max_timeout > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT runners_take_something CHECK (run_untagged OR tags <> '{}'),
    CONSTRAINT runners_lists_are_plain CHECK (array_ndims(tags) = 1 AND array_position(tags, NULL) IS NULL
        AND array_ndims(projects) = 1 AND array_position(projects, NULL) IS NULL)
);

-- The processes of runners, as they were last heard of, at most a minute late.
CREATE TABLE casq.runner_managers (
    runner_id bigint NOT NULL REFERENCES casq.runners ON DELETE CASCADE,
    system_id text COLLATE "C" NOT NULL
        CONSTRAINT runner_managers_system_id_length CHECK (octet_length(system_id) <= 64),
    info jsonb NOT NULL DEFAULT '{}',
    contacted_at timestamptz NOT NULL,
    PRIMARY KEY (runner_id, system_id)
);

COMMENT ON TABLE casq.runner_managers IS
    'The machines that have registered with a runner''s token, and when each was last heard '
    'of, to a minute.';

CREATE TABLE casq.pipelines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES casq.projects,
    ref text NOT NULL DEFAULT '',
    sha text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX pipelines_project ON casq.pipelines (project_id, id);

COMMENT ON TABLE casq.pipelines IS 'Builds that belong together. Made by casq.begin_pipeline.';
COMMENT ON COLUMN casq.pipelines.id IS 'number of the pipeline';
COMMENT ON COLUMN casq.pipelines.project_id IS 'its project';
COMMENT ON COLUMN casq.pipelines.ref IS 'branch or tag';
COMMENT ON COLUMN casq.pipelines.sha IS 'commit';
COMMENT ON COLUMN casq.pipelines.created_at IS 'when it was made';

CREATE SEQUENCE casq.builds_queued_seq;

-- A build. What it says of itself is in order of its life:
--
--   created    waits for builds that it needs
--   pending    waits for a runner; held: for its project's limit
--   running    is a runner's; without started_at it has not shown a sign of life yet
--   canceling  its runner is told to stop
--   success, failed, canceled, skipped: it has ended
--
-- attempt counts how often it was handed out. Each attempt has a token of its own, so
-- that what an earlier one still says is refused.
--
-- turn orders the queue: the microsecond at which the build came, or a minute after the
-- last of those of the same project that wait, whichever is later. So a project that asks for
-- much waits behind those that ask for little, and nobody waits for ever.
--
-- A pick begins at the head of an index, where those before it have left dead entries. By
-- itself vacuum would come after a fifth of the table, and would leave the indexes as they
-- are while few pages have changed: with 600,000 builds, 12,000 picks later, the head was
-- found in 111 pages, also after a vacuum; with the settings in 4.
CREATE TABLE casq.builds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline_id bigint NOT NULL REFERENCES casq.pipelines ON DELETE CASCADE,
    project_id bigint NOT NULL REFERENCES casq.projects,
    name text NOT NULL
        CONSTRAINT builds_name_length CHECK (octet_length(name) BETWEEN 1 AND 255),
    stage text NOT NULL DEFAULT 'test'
        CONSTRAINT builds_stage_length CHECK (octet_length(stage) BETWEEN 1 AND 255),
    status text NOT NULL
        CONSTRAINT builds_status_is_known CHECK (status IN ('created', 'pending', 'running', 'canceling', 'success', 'failed', 'canceled', 'skipped')),
    held boolean NOT NULL DEFAULT false
        CONSTRAINT builds_held_while_pending CHECK (NOT held OR status = 'pending'),
    -- What may be picked. It is a column so that a planner takes no index for its, but
    -- those of the queue: others are of builds that run as well.
    in_queue boolean NOT NULL GENERATED ALWAYS AS (status = 'pending' AND NOT held) STORED,
    tag_set integer NOT NULL REFERENCES casq.tag_sets,
    priority smallint NOT NULL DEFAULT 0,
    turn bigint NOT NULL,
    -- Drawn each time that the build comes into the queue.
    queued bigint,
    allow_failure boolean NOT NULL DEFAULT false,
    -- What the runner gets, but for what is known only when it gets it.
    job jsonb NOT NULL,
    timeout integer NOT NULL DEFAULT 3600 -- seconds
        CONSTRAINT builds_timeout_is_sane CHECK (timeout BETWEEN 1 AND 2592000),
    attempt integer NOT NULL DEFAULT 0,
    runner_id bigint REFERENCES casq.runners ON DELETE SET NULL,
    system_id text,
    token_hash bytea UNIQUE
        CONSTRAINT builds_token_hash_is_sha256 CHECK (octet_length(token_hash) = 32),
    -- What the runner of this attempt understands, and said when it asked.
    features jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    pending_at timestamptz,
    assigned_at timestamptz,
    start_by timestamptz, -- else it is handed out again
    started_at timestamptz,
    finished_at timestamptz,
    failure_reason text,
    exit_code integer,
    -- What the sweep, or whoever cancelled it, has to say.
    message text NOT NULL DEFAULT '',
    CONSTRAINT builds_pending_is_queued CHECK (status <> 'pending' OR held OR queued IS NOT NULL),
    CONSTRAINT builds_running_has_a_token CHECK (status NOT IN ('running', 'canceling')
        OR (token_hash IS NOT NULL AND assigned_at IS NOT NULL AND start_by IS NOT NULL AND attempt > 0)),
    CONSTRAINT builds_waiting_has_none CHECK (status NOT IN ('created', 'pending')
        OR (token_hash IS NULL AND runner_id IS NULL AND assigned_at IS NULL AND started_at IS NULL)),
    CONSTRAINT builds_finished_has_its_time CHECK ((status IN ('success', 'failed', 'canceled', 'skipped')) = (finished_at IS NOT NULL))
) WITH (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.01, vacuum_index_cleanup = on);
CREATE INDEX builds_queue ON casq.builds (tag_set, priority DESC, turn, id) WHERE in_queue;
CREATE INDEX builds_queue_of_project ON casq.builds (project_id, tag_set, priority DESC, turn, id) WHERE in_queue;
CREATE INDEX builds_newly_queued ON casq.builds (queued) WHERE in_queue;
CREATE INDEX builds_in_use ON casq.builds (project_id) WHERE NOT held AND status IN ('pending', 'running', 'canceling');
CREATE INDEX builds_held ON casq.builds (project_id, priority DESC, turn, id) WHERE held;
CREATE INDEX builds_of_runner ON casq.builds (runner_id, id) WHERE status IN ('running', 'canceling');
CREATE INDEX builds_of_project ON casq.builds (project_id, id) WHERE status IN ('created', 'pending', 'running', 'canceling');
CREATE INDEX builds_of_pipeline ON casq.builds (pipeline_id, id);

COMMENT ON TABLE casq.builds IS
    'Builds and what became of them. Made by casq.add_build; ended and queued anew by '
    'casq.cancel_build and casq.retry_build. Not to be changed by hand but for priority.';
COMMENT ON COLUMN casq.builds.id IS 'number of the build';
COMMENT ON COLUMN casq.builds.pipeline_id IS 'its pipeline';
COMMENT ON COLUMN casq.builds.project_id IS 'its project';
COMMENT ON COLUMN casq.builds.name IS '1 to 255 bytes';
COMMENT ON COLUMN casq.builds.stage IS '1 to 255 bytes';
COMMENT ON COLUMN casq.builds.status IS 'created (waits for builds that it needs), pending, running, canceling, success, failed, canceled, skipped';
COMMENT ON COLUMN casq.builds.held IS 'whether it waits for its project''s limit';
COMMENT ON COLUMN casq.builds.in_queue IS 'whether a runner may get it';
COMMENT ON COLUMN casq.builds.tag_set IS 'tags that it asks for, in casq.tag_sets';
COMMENT ON COLUMN casq.builds.priority IS 'higher ones first';
COMMENT ON COLUMN casq.builds.turn IS 'orders the queue; a project that asks for much comes later';
COMMENT ON COLUMN casq.builds.queued IS 'drawn each time that it comes into the queue';
COMMENT ON COLUMN casq.builds.allow_failure IS 'whether those that need it go on when it has failed';
COMMENT ON COLUMN casq.builds.job IS 'what the runner is told to do';
COMMENT ON COLUMN casq.builds.timeout IS 'in seconds, 1 to 2592000';
COMMENT ON COLUMN casq.builds.attempt IS 'how often it was handed out';
COMMENT ON COLUMN casq.builds.runner_id IS 'runner that has it, or had it last';
COMMENT ON COLUMN casq.builds.system_id IS 'machine of that runner';
COMMENT ON COLUMN casq.builds.token_hash IS 'SHA-256 of the token of this attempt';
COMMENT ON COLUMN casq.builds.features IS 'what the runner said that it can do';
COMMENT ON COLUMN casq.builds.created_at IS 'when it was added';
COMMENT ON COLUMN casq.builds.pending_at IS 'when it came into the queue';
COMMENT ON COLUMN casq.builds.assigned_at IS 'when it was handed out';
COMMENT ON COLUMN casq.builds.start_by IS 'without a sign of life until then it is handed out again';
COMMENT ON COLUMN casq.builds.started_at IS 'first sign of life';
COMMENT ON COLUMN casq.builds.finished_at IS 'when it ended';
COMMENT ON COLUMN casq.builds.failure_reason IS 'in the runner''s words, such as script_failure; job_execution_timeout, runner_system_failure and runner_unsupported are casq''s as well';
COMMENT ON COLUMN casq.builds.exit_code IS 'of the script that failed';
COMMENT ON COLUMN casq.builds.message IS 'what there is to say of its end';

-- A build needs older ones of its pipeline: so there are no cycles.
CREATE TABLE casq.build_needs (
    build_id bigint NOT NULL REFERENCES casq.builds ON DELETE CASCADE,
    -- One that others need goes with them only: they would wait for ever.
    needs_id bigint NOT NULL REFERENCES casq.builds DEFERRABLE INITIALLY DEFERRED,
    artifacts boolean NOT NULL DEFAULT true, -- it gets them, too
    PRIMARY KEY (build_id, needs_id),
    CONSTRAINT build_needs_an_older_one CHECK (needs_id < build_id)
);
CREATE INDEX build_needs_of ON casq.build_needs (needs_id, build_id);

-- When a build's runner was last heard of, at most a minute late.
CREATE TABLE casq.build_signs (
    build_id bigint PRIMARY KEY REFERENCES casq.builds ON DELETE CASCADE,
    attempt integer NOT NULL,
    heard_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Tells those who wait for builds, by the log. It is no resource's event: kinds have no
-- colon in their names, and whoever follows the log for resources passes it over.
CREATE FUNCTION casq.signal_builds(subject text, payload jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- The transaction id comes before the event id: see casq.ticks.low_id.
    PERFORM pg_current_xact_id();
    INSERT INTO casq.events (kind, resource_id, op, payload) VALUES ('casq:builds', subject, 'updated', payload);
END $$;

-- What a change of status needs, and whether there is such a change.
CREATE FUNCTION casq.check_build() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was text := 'none';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        was := OLD.status;
    END IF;
    IF was <> NEW.status AND was || ' ' || NEW.status <> ALL (ARRAY[
        'none created', 'none pending', 'none skipped',
        'created pending', 'created skipped', 'created canceled',
        'pending running', 'pending canceled',
        'running pending', 'running canceling', 'running success', 'running failed', 'running canceled',
        'canceling canceled',
        'success created', 'success pending', 'failed created', 'failed pending',
        'canceled created', 'canceled pending', 'skipped created', 'skipped pending'])
    THEN
        RAISE EXCEPTION 'casq: a build that is % does not become %', was, NEW.status
            USING ERRCODE = 'check_violation', DETAIL = format('Build %s, attempt %s.', NEW.id, NEW.attempt);
    END IF;
    IF NEW.status = 'pending' AND NOT NEW.held AND (was <> 'pending' OR OLD.held) THEN
        NEW.queued := nextval('casq.builds_queued_seq');
        NEW.pending_at := clock_timestamp();
    END IF;
    IF was <> NEW.status THEN
        NEW.finished_at := CASE WHEN NEW.status IN ('success', 'failed', 'canceled', 'skipped') THEN clock_timestamp() END;
    END IF;
    IF NEW.status IN ('created', 'pending') AND was <> NEW.status THEN
        NEW.runner_id := NULL;
        NEW.system_id := NULL;
        NEW.token_hash := NULL;
        NEW.assigned_at := NULL;
        NEW.start_by := NULL;
        NEW.started_at := NULL;
        NEW.failure_reason := NULL;
        NEW.exit_code := NULL;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER check_inserted BEFORE INSERT ON casq.builds
    FOR EACH ROW EXECUTE FUNCTION casq.check_build();
CREATE TRIGGER check_updated BEFORE UPDATE ON casq.builds
    FOR EACH ROW WHEN (OLD.status <> NEW.status OR OLD.held <> NEW.held) EXECUTE FUNCTION casq.check_build();

-- One event for all builds of a statement with the same tags, of the same project.
CREATE FUNCTION casq.signal_inserted_builds() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM casq.signal_builds(min(b.id)::text,
            jsonb_build_object('tag_set', b.tag_set, 'project', b.project_id, 'builds', count(*)))
    FROM inserted AS b WHERE b.in_queue
    GROUP BY b.tag_set, b.project_id;
    RETURN NULL;
END $$;

CREATE TRIGGER signal_inserted AFTER INSERT ON casq.builds
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION casq.signal_inserted_builds();

CREATE FUNCTION casq.signal_queued_build() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM casq.signal_builds(NEW.id::text,
        jsonb_build_object('tag_set', NEW.tag_set, 'project', NEW.project_id, 'builds', 1));
    RETURN NULL;
END $$;

CREATE TRIGGER signal_queued AFTER UPDATE ON casq.builds
    FOR EACH ROW WHEN (NEW.in_queue AND OLD.queued IS DISTINCT FROM NEW.queued)
    EXECUTE FUNCTION casq.signal_queued_build();

-- Whether the builds that one needs let it begin: true, or false when it never will,
-- or NULL when that is open.
CREATE FUNCTION casq.needs_are_met(build bigint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN bool_or(b.status IN ('canceled', 'skipped') OR (b.status = 'failed' AND NOT b.allow_failure)) THEN false
        WHEN bool_and(b.status IN ('success', 'failed')) IS NOT FALSE THEN true
    END
    FROM casq.build_needs AS n JOIN casq.builds AS b ON b.id = n.needs_id WHERE n.build_id = build
$$;

-- Puts a build into the queue. With a limit of its project it is held until there is
-- room: see casq.admit_builds.
CREATE FUNCTION casq.queue_build(build bigint) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    UPDATE casq.builds AS b SET status = 'pending', held = p.max_running IS NOT NULL
    FROM casq.projects AS p WHERE b.id = build AND p.id = b.project_id AND b.status = 'created'
$$;

-- Queues or skips what waits for a build that has ended. The rows are locked first, in
-- the order of their ids, and what they need is read by a later statement: of two builds
-- that end at once, the second sees the first.
--
-- What needs a build that failed is skipped, and what needs that, in one pass: a build
-- needs older ones only.
CREATE FUNCTION casq.release_builds() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    far boolean := NEW.status IN ('canceled', 'skipped') OR (NEW.status = 'failed' AND NOT NEW.allow_failure);
    waiting bigint[];
    build bigint;
    met boolean;
BEGIN
    IF current_setting('casq.releasing', true) = 'on'
        OR NOT EXISTS (SELECT FROM casq.build_needs AS n WHERE n.needs_id = NEW.id)
    THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: the end of a build that others need has to be written in READ COMMITTED, this transaction is %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'An old snapshot hides that another build has ended meanwhile.';
    END IF;
    SELECT array_agg(b.id ORDER BY b.id) INTO waiting FROM (
        WITH RECURSIVE below (id) AS (
            SELECT n.build_id FROM casq.build_needs AS n WHERE n.needs_id = NEW.id
            UNION
            SELECT n.build_id FROM below JOIN casq.build_needs AS n ON n.needs_id = below.id WHERE far
        )
        SELECT b.id FROM casq.builds AS b JOIN below USING (id)
        WHERE b.status = 'created' ORDER BY b.id FOR NO KEY UPDATE OF b
    ) AS b;
    PERFORM set_config('casq.releasing', 'on', true);
    FOREACH build IN ARRAY coalesce(waiting, '{}') LOOP
        met := casq.needs_are_met(build);
        IF met THEN
            PERFORM casq.queue_build(build);
        ELSIF NOT met THEN
            UPDATE casq.builds SET status = 'skipped', message = 'a build that it needs has not succeeded'
            WHERE id = build AND status = 'created';
        END IF;
    END LOOP;
    PERFORM set_config('casq.releasing', '', true);
    RETURN NULL;
END $$;

CREATE TRIGGER release AFTER UPDATE ON casq.builds
    FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL)
    EXECUTE FUNCTION casq.release_builds();

-- Lets builds that are held back by their project's limit into the queue, as many as
-- there is room for. One that somebody else has locked is passed over: he calls this, too.
--
-- An old snapshot does not show how much room there is. Whoever has one leaves it to the
-- sweep, which calls this for what is held though there is room.
CREATE FUNCTION casq.admit_builds(project bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    most integer;
    room bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN;
    END IF;
    SELECT p.max_running INTO most FROM casq.projects AS p WHERE p.id = project FOR NO KEY UPDATE;
    SELECT most - count(*) INTO room FROM casq.builds AS b
    WHERE b.project_id = project AND NOT b.held AND b.status IN ('pending', 'running', 'canceling');
    UPDATE casq.builds AS b SET held = false
    FROM (
        SELECT h.id FROM casq.builds AS h WHERE h.project_id = project AND h.held
        ORDER BY h.priority DESC, h.turn, h.id LIMIT CASE WHEN most IS NOT NULL THEN greatest(room, 0) END
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS h WHERE b.id = h.id;
END $$;

CREATE FUNCTION casq.admit_builds() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    project bigint := to_jsonb(NEW) ->> CASE TG_TABLE_NAME WHEN 'builds' THEN 'project_id' ELSE 'id' END;
BEGIN
    IF EXISTS (SELECT FROM casq.builds AS b WHERE b.project_id = project AND b.held) THEN
        PERFORM casq.admit_builds(project);
    END IF;
    RETURN NULL;
END $$;

-- At the end of the transaction, when it has all the builds that it locks: a project is
-- locked after builds.
CREATE CONSTRAINT TRIGGER admit_inserted AFTER INSERT ON casq.builds DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.held) EXECUTE FUNCTION casq.admit_builds();
CREATE CONSTRAINT TRIGGER admit_updated AFTER UPDATE ON casq.builds DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN ((NEW.held AND NOT OLD.held)
        OR (OLD.status IN ('pending', 'running', 'canceling') AND NEW.status NOT IN ('pending', 'running', 'canceling')))
    EXECUTE FUNCTION casq.admit_builds();
CREATE CONSTRAINT TRIGGER admit AFTER UPDATE ON casq.projects DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.max_running IS DISTINCT FROM NEW.max_running) EXECUTE FUNCTION casq.admit_builds();

-- What a runner may take has changed.
CREATE FUNCTION casq.signal_runner() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    runner bigint := CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END;
BEGIN
    PERFORM casq.signal_builds('runner ' || runner, jsonb_build_object('runner', runner));
    RETURN NULL;
END $$;

CREATE TRIGGER signal_runner AFTER INSERT OR UPDATE OR DELETE ON casq.runners
    FOR EACH ROW EXECUTE FUNCTION casq.signal_runner();

-- One of a runner's limited number of builds has ended.
CREATE FUNCTION casq.signal_freed_runner() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM casq.runners AS r WHERE r.id = OLD.runner_id AND r.max_running IS NOT NULL) THEN
        PERFORM casq.signal_builds('runner ' || OLD.runner_id, jsonb_build_object('runner', OLD.runner_id));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER signal_freed_runner AFTER UPDATE ON casq.builds
    FOR EACH ROW WHEN (OLD.status IN ('running', 'canceling') AND NEW.status NOT IN ('running', 'canceling'))
    EXECUTE FUNCTION casq.signal_freed_runner();

---- create above / drop below ----

-- Lock: all of it. Deploy: when no runner asks here. All builds are lost.
DROP TABLE casq.build_signs;
DROP TABLE casq.build_needs;
DROP TABLE casq.builds;
DROP FUNCTION casq.signal_freed_runner();
DROP FUNCTION casq.release_builds();
DROP FUNCTION casq.queue_build(bigint);
DROP FUNCTION casq.needs_are_met(bigint);
DROP FUNCTION casq.signal_queued_build();
DROP FUNCTION casq.signal_inserted_builds();
DROP FUNCTION casq.check_build();
DROP SEQUENCE casq.builds_queued_seq;
DROP TABLE casq.pipelines;
DROP TABLE casq.runner_managers;
DROP TABLE casq.runners;
DROP FUNCTION casq.signal_runner();
DROP FUNCTION casq.signal_builds(text, jsonb);
DROP FUNCTION casq.tag_sets_within(text[], boolean);
DROP TABLE casq.tag_sets;
DROP TABLE casq.projects;
DROP FUNCTION casq.admit_builds();
DROP FUNCTION casq.admit_builds(bigint);
