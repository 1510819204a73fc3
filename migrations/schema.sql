-- The schema casq as all migrations leave it. Not applied by anything: it is made
-- from a migrated database, to be read, and compared with one by TestSchema.
-- After a change of a migration: go test ./migrations -run TestSchema -update
--
-- Comments are in the migrations. Views are as Postgres 15 prints them.

---- Types

CREATE TYPE casq.problem AS (
    severity text,
    what text,
    since timestamp with time zone,
    command text
);

CREATE TYPE casq.track_sql AS (
    root text,
    key text,
    resource_id text,
    present text,
    id text,
    scope text,
    size text,
    bytes text,
    images text[],
    payload text
);

---- Sequences

CREATE SEQUENCE casq.builds_queued_seq AS bigint INCREMENT 1 MINVALUE 1 START 1 CACHE 1;

CREATE SEQUENCE casq.registry_version AS bigint INCREMENT 1 MINVALUE 1 START 1 CACHE 1;

---- Tables

CREATE TABLE casq.artifact_leftovers (
    key text COLLATE "C" NOT NULL,
    build_id bigint,
    attempt integer,
    since timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT artifact_leftovers_pkey PRIMARY KEY (key),
    CONSTRAINT artifact_leftovers_are_an_attempts CHECK (((build_id IS NULL) = (attempt IS NULL)))
);

CREATE TABLE casq.artifacts (
    key text COLLATE "C" NOT NULL,
    build_id bigint NOT NULL,
    attempt integer NOT NULL,
    project_id bigint NOT NULL,
    type text NOT NULL,
    format text NOT NULL,
    filename text NOT NULL,
    size bigint NOT NULL,
    sha256 bytea NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamp with time zone,
    CONSTRAINT artifacts_pkey PRIMARY KEY (key),
    CONSTRAINT artifacts_build_id_attempt_type_key UNIQUE (build_id, attempt, type),
    CONSTRAINT artifacts_build_id_fkey FOREIGN KEY (build_id) REFERENCES casq.builds(id) ON DELETE CASCADE,
    CONSTRAINT artifacts_filename_is_no_path CHECK ((((octet_length(filename) >= 1) AND (octet_length(filename) <= 255)) AND (filename !~ '[/\\[:cntrl:]]'::text))),
    CONSTRAINT artifacts_format_is_known CHECK ((format = ANY (ARRAY['zip'::text, 'gzip'::text, 'raw'::text, 'zipzstd'::text, 'tarzstd'::text]))),
    CONSTRAINT artifacts_sha256_is_sha256 CHECK ((octet_length(sha256) = 32)),
    CONSTRAINT artifacts_size_is_positive CHECK ((size >= 0)),
    CONSTRAINT artifacts_type_is_a_name CHECK ((type ~ '^[a-z][a-z0-9_]{0,39}$'::text))
);
COMMENT ON TABLE casq.artifacts IS 'Files that builds have left. A row is there when its bytes are safe; to delete it has the bytes removed.';
COMMENT ON COLUMN casq.artifacts.key IS 'where the bytes are, below RUNNER_ARTIFACT_URL';
COMMENT ON COLUMN casq.artifacts.build_id IS 'build that has left it';
COMMENT ON COLUMN casq.artifacts.attempt IS 'attempt that has';
COMMENT ON COLUMN casq.artifacts.project_id IS 'project that it is counted for';
COMMENT ON COLUMN casq.artifacts.type IS 'archive, metadata, junit, and other names of reports';
COMMENT ON COLUMN casq.artifacts.format IS 'zip, gzip, raw, zipzstd, tarzstd';
COMMENT ON COLUMN casq.artifacts.filename IS 'name that the runner gave it';
COMMENT ON COLUMN casq.artifacts.size IS 'in bytes';
COMMENT ON COLUMN casq.artifacts.sha256 IS 'of the bytes';
COMMENT ON COLUMN casq.artifacts.created_at IS 'when it was safe';
COMMENT ON COLUMN casq.artifacts.expires_at IS 'when it is removed; NULL: never';

CREATE TABLE casq.audit (
    id uuid NOT NULL,
    asked_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    role name NOT NULL DEFAULT SESSION_USER,
    actor text NOT NULL,
    via text NOT NULL,
    origin text NOT NULL,
    action text NOT NULL,
    touches bigint,
    changed jsonb NOT NULL DEFAULT '{}'::jsonb,
    job bigint,
    job_args jsonb,
    CONSTRAINT audit_pkey PRIMARY KEY (id),
    CONSTRAINT audit_is_bounded CHECK (((octet_length(actor) <= 800) AND (octet_length(via) <= 80) AND (octet_length(origin) <= 800) AND (octet_length(action) <= 4000)))
);
COMMENT ON TABLE casq.audit IS 'Who asked for what: a row for each command of enqueue or action of the page that has changed something, written in the transactions that did it. Kept for AUDIT_RETENTION; enqueue audit lists it.';

CREATE TABLE casq.build_needs (
    build_id bigint NOT NULL,
    needs_id bigint NOT NULL,
    artifacts boolean NOT NULL DEFAULT true,
    CONSTRAINT build_needs_pkey PRIMARY KEY (build_id, needs_id),
    CONSTRAINT build_needs_build_id_fkey FOREIGN KEY (build_id) REFERENCES casq.builds(id) ON DELETE CASCADE,
    CONSTRAINT build_needs_needs_id_fkey FOREIGN KEY (needs_id) REFERENCES casq.builds(id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT build_needs_an_older_one CHECK ((needs_id < build_id))
);

CREATE TABLE casq.build_signs (
    build_id bigint NOT NULL,
    attempt integer NOT NULL,
    heard_at timestamp with time zone NOT NULL,
    CONSTRAINT build_signs_pkey PRIMARY KEY (build_id),
    CONSTRAINT build_signs_build_id_fkey FOREIGN KEY (build_id) REFERENCES casq.builds(id) ON DELETE CASCADE
) WITH (fillfactor=50);

CREATE TABLE casq.build_trace_chunks (
    build_id bigint NOT NULL,
    attempt integer NOT NULL,
    start bigint NOT NULL,
    bytes bytea NOT NULL,
    CONSTRAINT build_trace_chunks_pkey PRIMARY KEY (build_id, attempt, start),
    CONSTRAINT build_trace_chunks_build_id_attempt_fkey FOREIGN KEY (build_id, attempt) REFERENCES casq.build_traces(build_id, attempt) ON DELETE CASCADE,
    CONSTRAINT build_trace_chunks_are_not_empty CHECK ((octet_length(bytes) > 0))
);

CREATE TABLE casq.build_traces (
    build_id bigint NOT NULL,
    attempt integer NOT NULL,
    received bigint NOT NULL DEFAULT 0,
    checksum bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL DEFAULT 0,
    cut boolean NOT NULL DEFAULT false,
    asked boolean NOT NULL DEFAULT false,
    resent integer NOT NULL DEFAULT 0,
    compacted boolean NOT NULL DEFAULT false,
    CONSTRAINT build_traces_pkey PRIMARY KEY (build_id, attempt),
    CONSTRAINT build_traces_build_id_fkey FOREIGN KEY (build_id) REFERENCES casq.builds(id) ON DELETE CASCADE,
    CONSTRAINT build_traces_checksum_is_crc32 CHECK (((checksum >= 0) AND (checksum <= '4294967295'::bigint))),
    CONSTRAINT build_traces_sizes CHECK (((0 <= received) AND (0 <= stored) AND (cut OR (stored = received))))
) WITH (fillfactor=50);

CREATE TABLE casq.builds (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    pipeline_id bigint NOT NULL,
    project_id bigint NOT NULL,
    name text NOT NULL,
    stage text NOT NULL DEFAULT 'test'::text,
    status text NOT NULL,
    held boolean NOT NULL DEFAULT false,
    in_queue boolean NOT NULL GENERATED ALWAYS AS ((status = 'pending'::text) AND (NOT held)) STORED,
    tag_set integer NOT NULL,
    priority smallint NOT NULL DEFAULT 0,
    turn bigint NOT NULL,
    queued bigint,
    allow_failure boolean NOT NULL DEFAULT false,
    job jsonb NOT NULL,
    timeout integer NOT NULL DEFAULT 3600,
    attempt integer NOT NULL DEFAULT 0,
    runner_id bigint,
    system_id text,
    token_hash bytea,
    features jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    pending_at timestamp with time zone,
    assigned_at timestamp with time zone,
    start_by timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    failure_reason text,
    exit_code integer,
    message text NOT NULL DEFAULT ''::text,
    CONSTRAINT builds_pkey PRIMARY KEY (id),
    CONSTRAINT builds_token_hash_key UNIQUE (token_hash),
    CONSTRAINT builds_pipeline_id_fkey FOREIGN KEY (pipeline_id) REFERENCES casq.pipelines(id) ON DELETE CASCADE,
    CONSTRAINT builds_project_id_fkey FOREIGN KEY (project_id) REFERENCES casq.projects(id),
    CONSTRAINT builds_runner_id_fkey FOREIGN KEY (runner_id) REFERENCES casq.runners(id) ON DELETE SET NULL,
    CONSTRAINT builds_tag_set_fkey FOREIGN KEY (tag_set) REFERENCES casq.tag_sets(id),
    CONSTRAINT admit_inserted TRIGGER DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT admit_updated TRIGGER DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT builds_finished_has_its_time CHECK (((status = ANY (ARRAY['success'::text, 'failed'::text, 'canceled'::text, 'skipped'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT builds_held_while_pending CHECK (((NOT held) OR (status = 'pending'::text))),
    CONSTRAINT builds_name_length CHECK (((octet_length(name) >= 1) AND (octet_length(name) <= 255))),
    CONSTRAINT builds_pending_is_queued CHECK (((status <> 'pending'::text) OR held OR (queued IS NOT NULL))),
    CONSTRAINT builds_running_has_a_token CHECK (((status <> ALL (ARRAY['running'::text, 'canceling'::text])) OR ((token_hash IS NOT NULL) AND (assigned_at IS NOT NULL) AND (start_by IS NOT NULL) AND (attempt > 0)))),
    CONSTRAINT builds_stage_length CHECK (((octet_length(stage) >= 1) AND (octet_length(stage) <= 255))),
    CONSTRAINT builds_status_is_known CHECK ((status = ANY (ARRAY['created'::text, 'pending'::text, 'running'::text, 'canceling'::text, 'success'::text, 'failed'::text, 'canceled'::text, 'skipped'::text]))),
    CONSTRAINT builds_timeout_is_sane CHECK (((timeout >= 1) AND (timeout <= 2592000))),
    CONSTRAINT builds_token_hash_is_sha256 CHECK ((octet_length(token_hash) = 32)),
    CONSTRAINT builds_waiting_has_none CHECK (((status <> ALL (ARRAY['created'::text, 'pending'::text])) OR ((token_hash IS NULL) AND (runner_id IS NULL) AND (assigned_at IS NULL) AND (started_at IS NULL))))
) WITH (autovacuum_vacuum_threshold=5000, autovacuum_vacuum_scale_factor=0.01, vacuum_index_cleanup=on);
COMMENT ON TABLE casq.builds IS 'Builds and what became of them. Made by casq.add_build; ended and queued anew by casq.cancel_build and casq.retry_build. Not to be changed by hand but for priority.';
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

CREATE TABLE casq.counter_kinds (
    kind text COLLATE "C" NOT NULL,
    complete boolean NOT NULL,
    generation integer NOT NULL DEFAULT 1,
    since timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    differs_since timestamp with time zone,
    CONSTRAINT counter_kinds_pkey PRIMARY KEY (kind)
);

CREATE TABLE casq.counter_shards (
    shard integer NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    timeline_id uuid NOT NULL,
    tick bigint NOT NULL,
    nonce uuid NOT NULL,
    to_tick bigint NOT NULL DEFAULT 0,
    to_nonce uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'::uuid,
    page bigint NOT NULL DEFAULT 0,
    moved_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT counter_shards_pkey PRIMARY KEY (shard),
    CONSTRAINT counter_shards_page_belongs_to_a_step CHECK ((((to_tick = 0) AND (page = 0) AND (to_nonce = '00000000-0000-0000-0000-000000000000'::uuid)) OR ((to_tick > tick) AND (page > 0)))),
    CONSTRAINT counter_shards_shard_check CHECK ((shard >= 0))
) WITH (fillfactor=50);

CREATE TABLE casq.counters (
    kind text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    size numeric NOT NULL DEFAULT 0,
    items bigint NOT NULL DEFAULT 0,
    generation integer NOT NULL DEFAULT 0,
    refresh bigint,
    updated_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT counters_pkey PRIMARY KEY (kind, scope_id)
) WITH (fillfactor=70);
COMMENT ON TABLE casq.counters IS 'The counters: read casq.statistics.';

CREATE TABLE casq.cursors (
    name text COLLATE "C" NOT NULL,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    timeline_id uuid NOT NULL,
    tick bigint NOT NULL,
    nonce uuid NOT NULL,
    to_tick bigint NOT NULL DEFAULT 0,
    to_nonce uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'::uuid,
    page bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    backend_pid integer,
    backend_start timestamp with time zone,
    moved_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    beat bigint NOT NULL DEFAULT 0,
    beat_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    caught_up_to timestamp with time zone,
    last_error text,
    CONSTRAINT cursors_pkey PRIMARY KEY (name),
    CONSTRAINT cursors_page_belongs_to_a_step CHECK ((((to_tick = 0) AND (page = 0) AND (to_nonce = '00000000-0000-0000-0000-000000000000'::uuid)) OR ((to_tick > tick) AND (page > 0))))
);
COMMENT ON TABLE casq.cursors IS 'How far consumers of the log have come: read casq.cursor_status. A row that no process moves any more holds the log back, and is to be deleted by hand.';

CREATE TABLE casq.event_failures (
    cursor text COLLATE "C" NOT NULL,
    timeline integer NOT NULL,
    event_id bigint NOT NULL,
    tick bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C",
    op text NOT NULL,
    payload jsonb,
    occurred_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    code text NOT NULL DEFAULT ''::text,
    tries integer NOT NULL,
    failed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    replayed_at timestamp with time zone,
    CONSTRAINT event_failures_pkey PRIMARY KEY (cursor, timeline, event_id)
);
COMMENT ON TABLE casq.event_failures IS 'Events that could not be applied and were dead-lettered. Open while replayed_at is null: enqueue replay re-fetches the resources from the source.';
COMMENT ON COLUMN casq.event_failures.cursor IS 'whose consumer has refused it; what is bad for one is not for another';
COMMENT ON COLUMN casq.event_failures.code IS 'the SQLSTATE; empty: the data could not be decoded, or its kind is not defined';
COMMENT ON COLUMN casq.event_failures.tries IS 'how often it was tried, alone and with others';
COMMENT ON COLUMN casq.event_failures.replayed_at IS 'when an operator''s replay has re-fetched the resource';

CREATE TABLE casq.events (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    op text NOT NULL,
    bulk boolean NOT NULL DEFAULT false,
    scope_id text COLLATE "C",
    moved text COLLATE "C" NOT NULL DEFAULT ''::text,
    size_delta bigint NOT NULL DEFAULT 0,
    item_delta bigint NOT NULL DEFAULT 0,
    payload jsonb NOT NULL DEFAULT '{}'::jsonb,
    occurred_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT events_pkey PRIMARY KEY (xid, id),
    CONSTRAINT events_moved_is_a_key CHECK (((moved = ''::text) OR ((op <> 'updated'::text) AND (octet_length(moved) <= 1024)))),
    CONSTRAINT events_occurred_at_is_finite CHECK (isfinite(occurred_at)),
    CONSTRAINT events_op_is_known CHECK ((op = ANY (ARRAY['created'::text, 'updated'::text, 'deleted'::text]))),
    CONSTRAINT events_payload_is_an_object CHECK ((jsonb_typeof(payload) = 'object'::text)),
    CONSTRAINT events_resource_id_length CHECK (((octet_length(resource_id) >= 1) AND (octet_length(resource_id) <= 1024))),
    CONSTRAINT events_scope_id_length CHECK ((octet_length(scope_id) <= 1024)),
    CONSTRAINT events_xid_is_the_writers CHECK ((xid = pg_current_xact_id())) NOT VALID
);
COMMENT ON TABLE casq.events IS 'The log: what has happened to resources, appended by the triggers of tracked tables and by casq.append_event, in the transactions that do it. Rows are not changed; those that everybody has read are removed after EVENT_RETENTION.';
COMMENT ON COLUMN casq.events.xid IS 'transaction that has appended it';
COMMENT ON COLUMN casq.events.id IS 'drawn in the order of the statements, not of the commits';
COMMENT ON COLUMN casq.events.kind IS 'its kind';
COMMENT ON COLUMN casq.events.resource_id IS 'key of the resource, 1 to 1024 bytes';
COMMENT ON COLUMN casq.events.op IS 'created, updated, deleted';
COMMENT ON COLUMN casq.events.bulk IS 'whether it comes from a backfill, and yields to others';
COMMENT ON COLUMN casq.events.scope_id IS 'what it is counted under, up to 1024 bytes; NULL: nothing';
COMMENT ON COLUMN casq.events.moved IS 'of a resource that has got another key: the new key where deleted, the old one where created; else empty';
COMMENT ON COLUMN casq.events.size_delta IS 'added to the scope''s size';
COMMENT ON COLUMN casq.events.item_delta IS 'added to the scope''s items';
COMMENT ON COLUMN casq.events.payload IS 'what the copy needs to know, an object, such as the SHA-256';
COMMENT ON COLUMN casq.events.occurred_at IS 'when it was appended, by the database''s clock';

CREATE TABLE casq.followers (
    name text COLLATE "C" NOT NULL,
    tick bigint NOT NULL,
    nonce uuid NOT NULL,
    reported_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    resources bigint,
    bytes numeric,
    CONSTRAINT followers_pkey PRIMARY KEY (name),
    CONSTRAINT followers_name_length CHECK (((octet_length(name) >= 1) AND (octet_length(name) <= 200)))
);
COMMENT ON TABLE casq.followers IS 'Who reads this log from another database. What they have not read is kept for as long as they report.';
COMMENT ON COLUMN casq.followers.name IS 'as the follower calls itself';
COMMENT ON COLUMN casq.followers.tick IS 'the newest tick that it has applied';
COMMENT ON COLUMN casq.followers.nonce IS 'nonce of that tick';
COMMENT ON COLUMN casq.followers.reported_at IS 'when it said so';
COMMENT ON COLUMN casq.followers.resources IS 'how many resources it wanted and had not in place then';
COMMENT ON COLUMN casq.followers.bytes IS 'the bytes that were asked for of those';

CREATE TABLE casq.grants (
    role name NOT NULL,
    what text NOT NULL,
    granted_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT grants_pkey PRIMARY KEY (role, what),
    CONSTRAINT grants_what_is_known CHECK ((what = ANY (ARRAY['worker'::text, 'follower'::text, 'application'::text, 'operator'::text, 'reader'::text])))
);

CREATE TABLE casq.installation (
    one boolean NOT NULL DEFAULT true,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    oldest_program integer NOT NULL DEFAULT 0,
    CONSTRAINT installation_pkey PRIMARY KEY (one),
    CONSTRAINT installation_is_one CHECK (one)
);
COMMENT ON TABLE casq.installation IS 'What this installation is, in its only row.';
COMMENT ON COLUMN casq.installation.id IS 'tells it from any other one, also from a copy';
COMMENT ON COLUMN casq.installation.oldest_program IS 'programs that know this migration, or a newer one, work on the schema';

CREATE TABLE casq.kinds (
    kind text COLLATE "C" NOT NULL,
    transfer text NOT NULL,
    queue text NOT NULL,
    prefix text COLLATE "C",
    source_prefix text COLLATE "C",
    missing text NOT NULL DEFAULT 'failed'::text,
    quiet interval NOT NULL DEFAULT '00:00:00'::interval,
    probe interval NOT NULL DEFAULT '00:00:00'::interval,
    CONSTRAINT kinds_pkey PRIMARY KEY (kind),
    CONSTRAINT kinds_kind_is_a_name CHECK ((kind ~ '^[a-z][a-z0-9_]{0,39}$'::text)),
    CONSTRAINT kinds_looks_only_for_bytes CHECK (((transfer <> 'none'::text) OR ((missing = 'failed'::text) AND (probe = '00:00:00'::interval)))),
    CONSTRAINT kinds_missing_is_known CHECK ((missing = ANY (ARRAY['failed'::text, 'absent'::text]))),
    CONSTRAINT kinds_prefix_only_with_bytes CHECK (((prefix IS NULL) = (transfer = 'none'::text))),
    CONSTRAINT kinds_probe_is_a_pace CHECK (((probe = '00:00:00'::interval) OR ((probe >= '00:00:01'::interval) AND (probe <= '30 days'::interval)))),
    CONSTRAINT kinds_queue_is_a_name CHECK (((queue ~ '^[a-z0-9]+([_-][a-z0-9]+)*$'::text) AND (length(queue) <= 64))),
    CONSTRAINT kinds_queue_is_its_own CHECK (((queue <> 'default'::text) AND (queue !~~ 'casq\_%'::text))),
    CONSTRAINT kinds_quiet_is_short CHECK (((quiet >= '00:00:00'::interval) AND (quiet <= '00:01:00'::interval))),
    CONSTRAINT kinds_source_prefix_only_with_bytes CHECK (((source_prefix IS NULL) = (transfer = 'none'::text))),
    CONSTRAINT kinds_transfer_is_known CHECK ((transfer = ANY (ARRAY['file'::text, 'git'::text, 'none'::text])))
);
COMMENT ON TABLE casq.kinds IS 'The kinds of resources that are known here. Made by casq.track or casq.define_kind; changed, moved and ended by enqueue kind.';
COMMENT ON COLUMN casq.kinds.kind IS 'its name';
COMMENT ON COLUMN casq.kinds.transfer IS 'file, git, or none: nothing is copied, only counted';
COMMENT ON COLUMN casq.kinds.queue IS 'River queue of its jobs';
COMMENT ON COLUMN casq.kinds.prefix IS 'folder at this site''s target, which has its copies';
COMMENT ON COLUMN casq.kinds.source_prefix IS 'folder that its keys are relative to where they come from';
COMMENT ON COLUMN casq.kinds.missing IS 'what a resource is whose bytes the source does not have: failed, or absent, which is no failure';
COMMENT ON COLUMN casq.kinds.quiet IS 'what changes often is copied when it has not changed for so long; 0: at once';
COMMENT ON COLUMN casq.kinds.probe IS 'how often what is in place is compared with the source, for changes that no row tells; 0: never';

CREATE TABLE casq.log_delays (
    cursor text COLLATE "C" NOT NULL,
    since timestamp with time zone NOT NULL,
    delay interval NOT NULL,
    CONSTRAINT log_delays_pkey PRIMARY KEY (cursor, since)
);

CREATE TABLE casq.moves (
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    base_id text COLLATE "C" NOT NULL,
    base_incarnation bigint NOT NULL,
    via text COLLATE "C" NOT NULL,
    incarnation bigint,
    timeline integer NOT NULL,
    tick bigint NOT NULL,
    CONSTRAINT moves_pkey PRIMARY KEY (kind, resource_id, base_id, base_incarnation),
    CONSTRAINT moves_kind_fkey FOREIGN KEY (kind) REFERENCES casq.kinds(kind) ON DELETE CASCADE
);
COMMENT ON TABLE casq.moves IS 'Resources that have got another key, and whose copy is still to be moved: until then what is in place under the old key stays. Not to be changed by hand.';
COMMENT ON COLUMN casq.moves.kind IS 'its kind';
COMMENT ON COLUMN casq.moves.resource_id IS 'key that it has now';
COMMENT ON COLUMN casq.moves.base_id IS 'key under which its copy is in place';
COMMENT ON COLUMN casq.moves.base_incarnation IS 'of the resources that have had that key, the one that it is';
COMMENT ON COLUMN casq.moves.via IS 'key that it had just before: another than base_id where it has moved several times';
COMMENT ON COLUMN casq.moves.incarnation IS 'likewise of the new key; NULL: the event of that has not come';
COMMENT ON COLUMN casq.moves.timeline IS 'timeline of the log that told of it';
COMMENT ON COLUMN casq.moves.tick IS 'the tick that told of it';

CREATE TABLE casq.pipelines (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    project_id bigint NOT NULL,
    ref text NOT NULL DEFAULT ''::text,
    sha text NOT NULL DEFAULT ''::text,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pipelines_pkey PRIMARY KEY (id),
    CONSTRAINT pipelines_project_id_fkey FOREIGN KEY (project_id) REFERENCES casq.projects(id)
);
COMMENT ON TABLE casq.pipelines IS 'Builds that belong together. Made by casq.begin_pipeline.';
COMMENT ON COLUMN casq.pipelines.id IS 'number of the pipeline';
COMMENT ON COLUMN casq.pipelines.project_id IS 'its project';
COMMENT ON COLUMN casq.pipelines.ref IS 'branch or tag';
COMMENT ON COLUMN casq.pipelines.sha IS 'commit';
COMMENT ON COLUMN casq.pipelines.created_at IS 'when it was made';

CREATE TABLE casq.probes (
    kind text COLLATE "C" NOT NULL,
    "position" text COLLATE "C" NOT NULL DEFAULT ''::text,
    due_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    began_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    round interval,
    last_error text,
    failing_since timestamp with time zone,
    CONSTRAINT probes_pkey PRIMARY KEY (kind),
    CONSTRAINT probes_kind_fkey FOREIGN KEY (kind) REFERENCES casq.kinds(kind) ON DELETE CASCADE
) WITH (fillfactor=50);
COMMENT ON TABLE casq.probes IS 'How far the comparison of each kind with its source is, of kinds that are probed: see casq.kinds.probe.';
COMMENT ON COLUMN casq.probes.kind IS 'its kind';
COMMENT ON COLUMN casq.probes."position" IS 'the key beyond which the next page begins';
COMMENT ON COLUMN casq.probes.due_at IS 'when the next page is due';
COMMENT ON COLUMN casq.probes.began_at IS 'when the round through all keys began that is under way';
COMMENT ON COLUMN casq.probes.round IS 'how long the round before took; NULL: there was none';
COMMENT ON COLUMN casq.probes.last_error IS 'why resources of the last page could not be compared; NULL: all could';
COMMENT ON COLUMN casq.probes.failing_since IS 'since when each page had such';

CREATE TABLE casq.processes (
    id uuid NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    beat bigint NOT NULL DEFAULT 0,
    beat_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    dead_at timestamp with time zone,
    CONSTRAINT processes_pkey PRIMARY KEY (id)
) WITH (fillfactor=50);
COMMENT ON TABLE casq.processes IS 'The worker processes that work on jobs, each with its last sign of life. What a dead one had claimed is handed on.';
COMMENT ON COLUMN casq.processes.id IS 'also its name among River''s clients';
COMMENT ON COLUMN casq.processes.host IS 'its machine';
COMMENT ON COLUMN casq.processes.pid IS 'its number there';
COMMENT ON COLUMN casq.processes.started_at IS 'when it began';
COMMENT ON COLUMN casq.processes.beat IS 'rises with each sign of life';
COMMENT ON COLUMN casq.processes.beat_at IS 'when it gave the last one';
COMMENT ON COLUMN casq.processes.dead_at IS 'when another one found that it gives none any more';

CREATE TABLE casq.projects (
    id bigint NOT NULL,
    path text NOT NULL DEFAULT ''::text,
    max_running integer,
    max_waiting integer NOT NULL DEFAULT 10000,
    newest_turn bigint NOT NULL DEFAULT 0,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT admit TRIGGER DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT projects_id_is_positive CHECK ((id > 0)),
    CONSTRAINT projects_max_running_is_a_number CHECK ((max_running >= 0)),
    CONSTRAINT projects_max_waiting_is_positive CHECK ((max_waiting > 0))
);
COMMENT ON TABLE casq.projects IS 'Projects that have builds, with their limits. Made by casq.begin_pipeline; the limits are changed by UPDATE.';
COMMENT ON COLUMN casq.projects.id IS 'the forge''s own number';
COMMENT ON COLUMN casq.projects.path IS 'the forge''s name of it';
COMMENT ON COLUMN casq.projects.max_running IS 'how many of its builds may be with runners at once; NULL: any number';
COMMENT ON COLUMN casq.projects.max_waiting IS 'how many of its builds may wait; more are refused';
COMMENT ON COLUMN casq.projects.newest_turn IS 'place of its newest build in the queue';
COMMENT ON COLUMN casq.projects.created_at IS 'when it was first named';

CREATE TABLE casq.reconcile_counts (
    run bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    unlisted boolean NOT NULL DEFAULT false,
    examined bigint NOT NULL DEFAULT 0,
    created bigint NOT NULL DEFAULT 0,
    adopted bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    removed bigint NOT NULL DEFAULT 0,
    requeued bigint NOT NULL DEFAULT 0,
    checks bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0,
    staging_removed bigint NOT NULL DEFAULT 0,
    held_back bigint NOT NULL DEFAULT 0,
    orphans bigint NOT NULL DEFAULT 0,
    orphans_removed bigint NOT NULL DEFAULT 0,
    CONSTRAINT reconcile_counts_pkey PRIMARY KEY (run, kind),
    CONSTRAINT reconcile_counts_run_fkey FOREIGN KEY (run) REFERENCES casq.reconcile_runs(id) ON DELETE CASCADE
) WITH (fillfactor=50);

CREATE TABLE casq.reconcile_orphans (
    run bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    CONSTRAINT reconcile_orphans_pkey PRIMARY KEY (run, kind, resource_id),
    CONSTRAINT reconcile_orphans_run_fkey FOREIGN KEY (run) REFERENCES casq.reconcile_runs(id) ON DELETE CASCADE
);

CREATE TABLE casq.reconcile_runs (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind text COLLATE "C",
    reason text NOT NULL,
    part_of bigint,
    dry_run boolean NOT NULL DEFAULT false,
    walk boolean NOT NULL DEFAULT false,
    remove_orphans boolean NOT NULL DEFAULT false,
    lost_since timestamp with time zone,
    allow_remove bigint NOT NULL DEFAULT 0,
    beyond_timeline integer,
    beyond_tick bigint,
    at_timeline integer,
    at_tick bigint,
    requested_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    not_before timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    process uuid,
    waiting text,
    phase text NOT NULL DEFAULT 'resources'::text,
    at_kind text COLLATE "C",
    after_key text COLLATE "C",
    CONSTRAINT reconcile_runs_pkey PRIMARY KEY (id),
    CONSTRAINT reconcile_phase_is_known CHECK ((phase = ANY (ARRAY['resources'::text, 'rows'::text, 'staging'::text, 'walk'::text]))),
    CONSTRAINT reconcile_progress_has_a_kind CHECK (((after_key IS NULL) OR (at_kind IS NOT NULL))),
    CONSTRAINT reconcile_reason_is_known CHECK ((reason = ANY (ARRAY['asked'::text, 'scheduled'::text, 'lost'::text, 'pruned'::text, 'failover'::text, 'selected'::text])))
);

CREATE TABLE casq.refreshes (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    scan bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C",
    shard integer,
    state text NOT NULL DEFAULT 'created'::text,
    requested_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    started_at timestamp with time zone,
    finalizing_at timestamp with time zone,
    finished_at timestamp with time zone,
    finalize_job bigint,
    flush_epoch bigint,
    scanned_size numeric,
    scanned_items bigint,
    old_size numeric,
    new_size numeric,
    old_items bigint,
    new_items bigint,
    drift_size numeric GENERATED ALWAYS AS (new_size - old_size) STORED,
    drift_items bigint GENERATED ALWAYS AS (new_items - old_items) STORED,
    reason text,
    CONSTRAINT refreshes_pkey PRIMARY KEY (id),
    CONSTRAINT refreshes_scan_fkey FOREIGN KEY (scan) REFERENCES casq.scans(id) ON DELETE CASCADE,
    CONSTRAINT refreshes_done_has_a_value CHECK (((state <> 'done'::text) OR (scope_id IS NULL) OR (new_size IS NOT NULL))),
    CONSTRAINT refreshes_end_has_a_time CHECK (((state = ANY (ARRAY['done'::text, 'failed'::text, 'cancelled'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT refreshes_failure_has_a_reason CHECK (((state <> 'failed'::text) OR (reason IS NOT NULL))),
    CONSTRAINT refreshes_scope_has_a_shard CHECK (((scope_id IS NULL) = (shard IS NULL))),
    CONSTRAINT refreshes_state_is_known CHECK ((state = ANY (ARRAY['created'::text, 'running'::text, 'finalizing'::text, 'done'::text, 'failed'::text, 'cancelled'::text])))
) WITH (fillfactor=70);
COMMENT ON TABLE casq.refreshes IS 'What recounts have found, by scope: read casq.refresh_status.';

CREATE TABLE casq.registry (
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL DEFAULT nextval('casq.registry_version'::regclass),
    timeline integer NOT NULL,
    event_id bigint NOT NULL,
    tick bigint NOT NULL,
    deleted_at timestamp with time zone,
    incarnation bigint NOT NULL DEFAULT 1,
    payload jsonb NOT NULL,
    scope_id text COLLATE "C",
    queued_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    synced_version bigint,
    synced_incarnation bigint,
    checksum text,
    source_state text,
    size bigint,
    verified_at timestamp with time zone,
    left_incarnation bigint,
    check_asked_at timestamp with time zone,
    claim uuid,
    claim_process uuid,
    claim_job bigint,
    last_claim uuid,
    asked boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    failed_version bigint,
    last_error text,
    failure_reason text COLLATE "C",
    retry_at timestamp with time zone,
    missing_since timestamp with time zone,
    absent boolean NOT NULL DEFAULT false,
    compared_at timestamp with time zone,
    probed_version bigint,
    swept_job bigint,
    CONSTRAINT registry_pkey PRIMARY KEY (kind, resource_id),
    CONSTRAINT registry_kind_fkey FOREIGN KEY (kind) REFERENCES casq.kinds(kind),
    CONSTRAINT registry_asked_needs_a_claim CHECK (((claim IS NOT NULL) OR (NOT asked))),
    CONSTRAINT registry_claim_is_complete CHECK (((claim IS NULL) = (claim_process IS NULL))),
    CONSTRAINT registry_failed_not_beyond_version CHECK ((failed_version <= version)),
    CONSTRAINT registry_synced_not_beyond_version CHECK ((synced_version <= version))
) WITH (fillfactor=50);
COMMENT ON TABLE casq.registry IS 'A row for each resource, with all that casq knows of it: read casq.registry_status. Not to be changed by hand.';

CREATE TABLE casq.registry_changes (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    deleted boolean NOT NULL,
    reason text COLLATE "C",
    since timestamp with time zone,
    process uuid,
    count bigint NOT NULL,
    bytes numeric NOT NULL,
    asked numeric NOT NULL DEFAULT 0,
    at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT registry_changes_pkey PRIMARY KEY (id)
);

CREATE TABLE casq.registry_counts (
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    deleted boolean NOT NULL,
    reason text COLLATE "C",
    since timestamp with time zone,
    process uuid,
    count bigint NOT NULL,
    bytes numeric NOT NULL,
    asked numeric NOT NULL DEFAULT 0,
    first_at timestamp with time zone,
    last_at timestamp with time zone,
    CONSTRAINT registry_counts_group UNIQUE NULLS NOT DISTINCT (kind, state, deleted, reason, since, process)
);

CREATE TABLE casq.registry_floors (
    kind text COLLATE "C" NOT NULL,
    timeline integer NOT NULL,
    tick bigint NOT NULL,
    CONSTRAINT registry_floors_pkey PRIMARY KEY (kind)
);

CREATE TABLE casq.runner_managers (
    runner_id bigint NOT NULL,
    system_id text COLLATE "C" NOT NULL,
    info jsonb NOT NULL DEFAULT '{}'::jsonb,
    contacted_at timestamp with time zone NOT NULL,
    CONSTRAINT runner_managers_pkey PRIMARY KEY (runner_id, system_id),
    CONSTRAINT runner_managers_runner_id_fkey FOREIGN KEY (runner_id) REFERENCES casq.runners(id) ON DELETE CASCADE,
    CONSTRAINT runner_managers_system_id_length CHECK ((octet_length(system_id) <= 64))
);
COMMENT ON TABLE casq.runner_managers IS 'The machines that have registered with a runner''s token, and when each was last heard of, to a minute.';

CREATE TABLE casq.runners (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    token_hash bytea NOT NULL,
    token_created_at timestamp with time zone NOT NULL DEFAULT now(),
    token_expires_at timestamp with time zone,
    description text NOT NULL DEFAULT ''::text,
    tags text[] COLLATE "C" NOT NULL DEFAULT '{}'::text[],
    run_untagged boolean NOT NULL DEFAULT true,
    projects bigint[],
    paused boolean NOT NULL DEFAULT false,
    max_running integer,
    max_timeout integer,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT runners_pkey PRIMARY KEY (id),
    CONSTRAINT runners_token_hash_key UNIQUE (token_hash),
    CONSTRAINT runners_lists_are_plain CHECK (((array_ndims(tags) = 1) AND (array_position(tags, NULL::text) IS NULL) AND (array_ndims(projects) = 1) AND (array_position(projects, NULL::bigint) IS NULL))),
    CONSTRAINT runners_max_running_is_positive CHECK ((max_running > 0)),
    CONSTRAINT runners_max_timeout_is_positive CHECK ((max_timeout > 0)),
    CONSTRAINT runners_take_something CHECK ((run_untagged OR (tags <> '{}'::text[]))),
    CONSTRAINT runners_token_hash_is_sha256 CHECK ((octet_length(token_hash) = 32))
);

CREATE TABLE casq.scans (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind text COLLATE "C" NOT NULL,
    all_scopes boolean NOT NULL,
    compare boolean NOT NULL,
    in_parts boolean NOT NULL DEFAULT false,
    part_of bigint,
    part text,
    after_scope text COLLATE "C",
    last_scope text COLLATE "C",
    scope_order text,
    requested_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    floor_timeline integer NOT NULL,
    floor_tick bigint NOT NULL,
    token uuid,
    process uuid,
    job bigint,
    flush_job bigint,
    tries integer NOT NULL DEFAULT 0,
    started_at timestamp with time zone,
    generation integer,
    host text,
    timeline integer,
    tick bigint,
    nonce uuid,
    xids xid8[],
    scanned_rows bigint,
    scanned_at timestamp with time zone,
    shards integer[],
    finished_at timestamp with time zone,
    CONSTRAINT scans_pkey PRIMARY KEY (id),
    CONSTRAINT scans_part_of_fkey FOREIGN KEY (part_of) REFERENCES casq.scans(id) ON DELETE SET NULL,
    CONSTRAINT scans_part_belongs_to_a_recount CHECK (((part IS NOT NULL) OR (part_of IS NULL))),
    CONSTRAINT scans_part_is_known CHECK ((part = ANY (ARRAY['table'::text, 'rest'::text, 'list'::text])))
);

CREATE TABLE casq.scope_groups (
    kind text COLLATE "C" NOT NULL,
    parents text NOT NULL,
    scope_column text NOT NULL,
    parent_column text NOT NULL,
    grouped_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT scope_groups_pkey PRIMARY KEY (kind),
    CONSTRAINT scope_groups_kind_fkey FOREIGN KEY (kind) REFERENCES casq.kinds(kind) ON DELETE CASCADE
);

CREATE TABLE casq.selections (
    kind text COLLATE "C" NOT NULL,
    scopes text[] COLLATE "C",
    generation bigint NOT NULL DEFAULT 1,
    changed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT selections_pkey PRIMARY KEY (kind),
    CONSTRAINT selections_scopes_are_texts CHECK ((array_position(scopes, NULL::text) IS NULL))
);
COMMENT ON TABLE casq.selections IS 'What this site has of a kind, by the scopes of its resources; of a kind without a row it has everything. Change it with enqueue select.';
COMMENT ON COLUMN casq.selections.kind IS 'its kind';
COMMENT ON COLUMN casq.selections.scopes IS 'scopes that it has; NULL: all; empty: nothing';
COMMENT ON COLUMN casq.selections.generation IS 'rises with each change';
COMMENT ON COLUMN casq.selections.changed_at IS 'when it was last changed';

CREATE TABLE casq.server_timelines (
    timeline bigint NOT NULL,
    system_identifier bigint NOT NULL,
    server_timeline integer NOT NULL,
    began_lsn pg_lsn NOT NULL,
    began_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT server_timelines_pkey PRIMARY KEY (timeline),
    CONSTRAINT server_timelines_timeline_check CHECK ((timeline > 0))
);

CREATE TABLE casq.source_changes (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint NOT NULL DEFAULT nextval('casq.events_id_seq'::regclass),
    source integer NOT NULL,
    rows jsonb,
    noted_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT source_changes_pkey PRIMARY KEY (xid, id)
);
COMMENT ON TABLE casq.source_changes IS 'What has changed in the sources of tracked views, and is not read yet by the consumer that evaluates the views.';

CREATE TABLE casq.sources (
    id integer NOT NULL GENERATED ALWAYS AS IDENTITY,
    relation regclass NOT NULL,
    name text NOT NULL,
    problem text,
    problem_at timestamp with time zone,
    CONSTRAINT sources_pkey PRIMARY KEY (id),
    CONSTRAINT sources_relation_key UNIQUE (relation)
);
COMMENT ON TABLE casq.sources IS 'The tables that tracked views are made of, whose changes are noted.';

CREATE TABLE casq.tag_sets (
    id integer NOT NULL GENERATED ALWAYS AS IDENTITY,
    tags text[] COLLATE "C" NOT NULL,
    CONSTRAINT tag_sets_pkey PRIMARY KEY (id),
    CONSTRAINT tag_sets_tags_key UNIQUE (tags)
);
COMMENT ON TABLE casq.tag_sets IS 'The sets of tags that builds ask for, each once.';

CREATE TABLE casq.targets (
    transfer text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    place text NOT NULL,
    marked_at timestamp with time zone,
    CONSTRAINT targets_pkey PRIMARY KEY (transfer)
);
COMMENT ON TABLE casq.targets IS 'Which folder or bucket is this site''s target, by transfer: the one whose mark, .casq/target, has the id. See casq.replace_target.';
COMMENT ON COLUMN casq.targets.transfer IS 'file or git';
COMMENT ON COLUMN casq.targets.id IS 'what the mark says';
COMMENT ON COLUMN casq.targets.place IS 'where it was when it was marked';
COMMENT ON COLUMN casq.targets.marked_at IS 'when it was marked; NULL: not yet';

CREATE TABLE casq.ticks (
    id bigint NOT NULL,
    nonce uuid NOT NULL DEFAULT gen_random_uuid(),
    timeline integer NOT NULL,
    snapshot pg_snapshot NOT NULL,
    low_id bigint NOT NULL,
    high_id bigint NOT NULL,
    lsn pg_lsn NOT NULL,
    taken_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ticks_pkey PRIMARY KEY (id),
    CONSTRAINT ticks_timeline_fkey FOREIGN KEY (timeline) REFERENCES casq.timelines(timeline),
    CONSTRAINT ticks_id_check CHECK ((id >= 0))
);
COMMENT ON TABLE casq.ticks IS 'Marks in the log, taken by a worker at the primary while there are events, and each ten seconds otherwise: whoever follows the log reads from tick to tick.';

CREATE TABLE casq.timelines (
    timeline integer NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    system_identifier bigint NOT NULL,
    server_timeline integer NOT NULL,
    began_tick bigint NOT NULL,
    began_lsn pg_lsn NOT NULL,
    began_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT timelines_pkey PRIMARY KEY (timeline),
    CONSTRAINT timelines_timeline_check CHECK ((timeline > 0))
);

CREATE TABLE casq.tracked (
    relation regclass NOT NULL,
    kind text COLLATE "C" NOT NULL,
    key_column text NOT NULL,
    id_column text,
    scope_column text,
    size_column text,
    payload_columns text[] NOT NULL,
    every_update boolean NOT NULL DEFAULT false,
    numbers jsonb NOT NULL,
    relation_oid oid NOT NULL,
    name text NOT NULL,
    filenode oid,
    shape text,
    tracked_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tracked_pkey PRIMARY KEY (relation),
    CONSTRAINT tracked_kind_key UNIQUE (kind),
    CONSTRAINT tracked_kind_fkey FOREIGN KEY (kind) REFERENCES casq.kinds(kind)
);
COMMENT ON TABLE casq.tracked IS 'The tables that are tracked: see casq.track.';
COMMENT ON COLUMN casq.tracked.relation IS 'the table';
COMMENT ON COLUMN casq.tracked.kind IS 'what its rows are';
COMMENT ON COLUMN casq.tracked.key_column IS 'column with the key';
COMMENT ON COLUMN casq.tracked.id_column IS 'column that stays the same when the key changes, by which a rename is seen; NULL: there is none';
COMMENT ON COLUMN casq.tracked.scope_column IS 'column that its rows are counted by, those in which it is NULL under the empty text; NULL: they are not counted';
COMMENT ON COLUMN casq.tracked.size_column IS 'column that is added up; NULL: only rows are counted';
COMMENT ON COLUMN casq.tracked.payload_columns IS 'columns that are sent along';
COMMENT ON COLUMN casq.tracked.every_update IS 'whether each UPDATE of a row is told of, also one that changes nothing of it';
COMMENT ON COLUMN casq.tracked.tracked_at IS 'since when';

CREATE TABLE casq.view_ids (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    reason text,
    tries integer NOT NULL DEFAULT 0,
    failed_at timestamp with time zone,
    due_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT view_ids_pkey PRIMARY KEY (kind, id),
    CONSTRAINT view_ids_kind_fkey FOREIGN KEY (kind) REFERENCES casq.views(kind) ON DELETE CASCADE
);
COMMENT ON TABLE casq.view_ids IS 'Ids of tracked views that are evaluated again: with a reason those whose row cannot be followed as it is, such as a second one with the same key. They are tried again by themselves.';
COMMENT ON COLUMN casq.view_ids.kind IS 'as in casq.views';
COMMENT ON COLUMN casq.view_ids.id IS 'value of the id column';
COMMENT ON COLUMN casq.view_ids.key IS 'the key that it wants, and another id has';
COMMENT ON COLUMN casq.view_ids.reason IS 'why its row is not followed; NULL: it waits for its turn';
COMMENT ON COLUMN casq.view_ids.tries IS 'how often it has failed';
COMMENT ON COLUMN casq.view_ids.failed_at IS 'when it first did';
COMMENT ON COLUMN casq.view_ids.due_at IS 'when it is tried again, at the latest';

CREATE TABLE casq.view_sources (
    kind text COLLATE "C" NOT NULL,
    source integer NOT NULL,
    ids regclass NOT NULL,
    changed regclass NOT NULL,
    CONSTRAINT view_sources_pkey PRIMARY KEY (kind, source),
    CONSTRAINT view_sources_kind_fkey FOREIGN KEY (kind) REFERENCES casq.views(kind) ON DELETE CASCADE,
    CONSTRAINT view_sources_source_fkey FOREIGN KEY (source) REFERENCES casq.sources(id)
);
COMMENT ON TABLE casq.view_sources IS 'Which tables a tracked view is made of, and what of their rows it needs.';

CREATE TABLE casq.views (
    kind text COLLATE "C" NOT NULL,
    view regclass NOT NULL,
    name text NOT NULL,
    image regclass NOT NULL,
    id_column text NOT NULL,
    key_column text NOT NULL,
    scope_column text,
    size_column text,
    payload_columns text[] NOT NULL,
    sources jsonb NOT NULL,
    definition text,
    compare_asked_at timestamp with time zone DEFAULT clock_timestamp(),
    renewed boolean NOT NULL DEFAULT false,
    compare_from xid8,
    compare_began_at timestamp with time zone,
    compared_to text,
    compared_at timestamp with time zone,
    filled_at timestamp with time zone,
    fills boolean NOT NULL DEFAULT true,
    error text,
    failed_at timestamp with time zone,
    tried_at timestamp with time zone,
    tracked_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT views_pkey PRIMARY KEY (kind),
    CONSTRAINT views_view_key UNIQUE (view),
    CONSTRAINT views_kind_fkey FOREIGN KEY (kind) REFERENCES casq.kinds(kind)
);
COMMENT ON TABLE casq.views IS 'The views that are tracked: read casq.view_status.';

CREATE TABLE casq.workers (
    id uuid NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    schema_version integer NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    beat_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    roles jsonb NOT NULL DEFAULT '{}'::jsonb,
    waiting text,
    queues text[] COLLATE "C" NOT NULL DEFAULT '{}'::text[],
    source_timeline integer,
    source_tick bigint,
    source_moved interval,
    source_answered interval,
    source_behind interval,
    CONSTRAINT workers_pkey PRIMARY KEY (id),
    CONSTRAINT workers_roles_is_an_object CHECK ((jsonb_typeof(roles) = 'object'::text))
) WITH (fillfactor=50);
COMMENT ON TABLE casq.workers IS 'The worker processes, and what each last said of itself, every ten seconds. One that stops takes its row along; that of one that was killed stays for a day.';

---- Indexes

CREATE INDEX artifacts_expire ON casq.artifacts USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX audit_asked_at ON casq.audit USING btree (asked_at);

CREATE INDEX build_needs_of ON casq.build_needs USING btree (needs_id, build_id);

CREATE INDEX build_traces_to_compact ON casq.build_traces USING btree (build_id, attempt) WHERE (NOT compacted);

CREATE INDEX builds_held ON casq.builds USING btree (project_id, priority DESC, turn, id) WHERE held;

CREATE INDEX builds_in_use ON casq.builds USING btree (project_id) WHERE ((NOT held) AND (status = ANY (ARRAY['pending'::text, 'running'::text, 'canceling'::text])));

CREATE INDEX builds_newly_queued ON casq.builds USING btree (queued) WHERE in_queue;

CREATE INDEX builds_of_pipeline ON casq.builds USING btree (pipeline_id, id);

CREATE INDEX builds_of_project ON casq.builds USING btree (project_id, id) WHERE (status = ANY (ARRAY['created'::text, 'pending'::text, 'running'::text, 'canceling'::text]));

CREATE INDEX builds_of_runner ON casq.builds USING btree (runner_id, id) WHERE (status = ANY (ARRAY['running'::text, 'canceling'::text]));

CREATE INDEX builds_queue ON casq.builds USING btree (tag_set, priority DESC, turn, id) WHERE in_queue;

CREATE INDEX builds_queue_of_project ON casq.builds USING btree (project_id, tag_set, priority DESC, turn, id) WHERE in_queue;

CREATE INDEX counters_shard ON casq.counters USING btree (kind, shard);

CREATE INDEX event_failures_open ON casq.event_failures USING btree (kind, resource_id) WHERE (replayed_at IS NULL);

CREATE INDEX events_id ON casq.events USING btree (id);

CREATE INDEX moves_base ON casq.moves USING btree (kind, base_id);

CREATE INDEX pipelines_project ON casq.pipelines USING btree (project_id, id);

CREATE INDEX reconcile_runs_open ON casq.reconcile_runs USING btree (id) WHERE (finished_at IS NULL);

CREATE UNIQUE INDEX refreshes_scope ON casq.refreshes USING btree (scan, scope_id);

CREATE INDEX refreshes_shard ON casq.refreshes USING btree (scan, shard);

CREATE INDEX registry_tombstones ON casq.registry USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);

CREATE INDEX scans_open ON casq.scans USING btree (id) WHERE (finished_at IS NULL);

CREATE INDEX scans_parts ON casq.scans USING btree (part_of) WHERE (part_of IS NOT NULL);

CREATE INDEX source_changes_id ON casq.source_changes USING btree (id);

CREATE INDEX tag_sets_tags ON casq.tag_sets USING gin (tags);

CREATE INDEX view_ids_due ON casq.view_ids USING btree (kind, due_at);

CREATE INDEX view_ids_key ON casq.view_ids USING btree (kind, key) WHERE (key IS NOT NULL);

---- Views

CREATE VIEW casq.at_risk AS
 SELECT k.kind,
    (COALESCE(sum(g.count), (0)::numeric))::bigint AS resources,
    COALESCE(sum(g.asked), (0)::numeric) AS bytes
   FROM (casq.kinds k
     LEFT JOIN ( SELECT c.kind,
            c.state,
            c.deleted,
            c.count,
            c.asked
           FROM casq.registry_counts c
        UNION ALL
         SELECT d.kind,
            d.state,
            d.deleted,
            d.count,
            d.asked
           FROM casq.registry_changes d) g ON (((g.kind = k.kind) AND (g.state = ANY (ARRAY['pending'::text, 'failed'::text])) AND (NOT g.deleted))))
  GROUP BY k.kind;
COMMENT ON VIEW casq.at_risk IS 'What would be lost, by kind, if the site that is followed were lost now: what is wanted here and not in place.';
COMMENT ON COLUMN casq.at_risk.kind IS 'as in casq.kinds';
COMMENT ON COLUMN casq.at_risk.resources IS 'how many resources: pending, at work or failed';
COMMENT ON COLUMN casq.at_risk.bytes IS 'the bytes that were asked for of them, where their payload has a size';

CREATE VIEW casq.build_queue AS
 SELECT s.tags,
    count(*) AS builds,
    min(b.pending_at) AS oldest_since,
    ( SELECT count(*) AS count
           FROM casq.runners r
          WHERE ((NOT r.paused) AND
                CASE
                    WHEN (s.tags = '{}'::text[]) THEN r.run_untagged
                    ELSE (s.tags <@ r.tags)
                END)) AS runners
   FROM (casq.builds b
     JOIN casq.tag_sets s ON ((s.id = b.tag_set)))
  WHERE b.in_queue
  GROUP BY s.id, s.tags;
COMMENT ON VIEW casq.build_queue IS 'The builds that wait for a runner, by the tags that they ask for.';
COMMENT ON COLUMN casq.build_queue.tags IS 'what a runner has to have, all of them';
COMMENT ON COLUMN casq.build_queue.builds IS 'how many wait';
COMMENT ON COLUMN casq.build_queue.oldest_since IS 'since when the one that has waited longest';
COMMENT ON COLUMN casq.build_queue.runners IS 'runners that are not paused and have the tags; a runner that is limited to projects counts, too';

CREATE VIEW casq.counter_status AS
 SELECT s.shard,
    s.epoch,
    s.timeline,
    s.tick,
    s.page,
    s.moved_at,
    COALESCE(((newest.id - behind.first_tick) + 1), (0)::bigint) AS ticks_behind,
    COALESCE(GREATEST((clock_timestamp() - behind.taken_at), '00:00:00'::interval), '00:00:00'::interval) AS lag,
    COALESCE(GREATEST((clock_timestamp() - behind.occurred_at), '00:00:00'::interval), '00:00:00'::interval) AS buffer_age
   FROM ((casq.counter_shards s
     CROSS JOIN ( SELECT ticks.id
           FROM casq.ticks
          ORDER BY ticks.id DESC
         LIMIT 1) newest)
     LEFT JOIN ( SELECT t.id AS tick,
            oldest.occurred_at,
            first.id AS first_tick,
            first.taken_at
           FROM (((( SELECT DISTINCT c.tick
                   FROM casq.counter_shards c) at
             JOIN casq.ticks t ON ((t.id = at.tick)))
             CROSS JOIN LATERAL ( SELECT e.xid,
                    e.occurred_at
                   FROM ( SELECT n.xid,
                            n.id,
                            n.kind,
                            n.resource_id,
                            n.op,
                            n.bulk,
                            n.scope_id,
                            n.moved,
                            n.size_delta,
                            n.item_delta,
                            n.payload,
                            n.occurred_at
                           FROM casq.events n
                          WHERE (n.xid >= pg_snapshot_xmax(t.snapshot))
                          ORDER BY n.xid, n.id
                         LIMIT 10000) e
                  WHERE (e.scope_id IS NOT NULL)
                  ORDER BY e.xid, e.id
                 LIMIT 1) oldest)
             LEFT JOIN LATERAL ( SELECT n.id,
                    n.taken_at
                   FROM casq.ticks n
                  WHERE ((n.id > t.id) AND pg_visible_in_snapshot(oldest.xid, n.snapshot))
                  ORDER BY n.id
                 LIMIT 1) first ON (true))) behind ON ((behind.tick = s.tick)));
COMMENT ON VIEW casq.counter_status IS 'How far the flushed counters are behind the log, by shard.';
COMMENT ON COLUMN casq.counter_status.shard IS 'number of the shard';
COMMENT ON COLUMN casq.counter_status.epoch IS 'rises with each change of its counters';
COMMENT ON COLUMN casq.counter_status.timeline IS 'timeline of the log';
COMMENT ON COLUMN casq.counter_status.tick IS 'the newest tick that is flushed';
COMMENT ON COLUMN casq.counter_status.page IS 'within a step that is read in pages: the last event that is flushed; else 0';
COMMENT ON COLUMN casq.counter_status.moved_at IS 'when it was last flushed';
COMMENT ON COLUMN casq.counter_status.ticks_behind IS 'ticks since the first that shows an event which is not flushed; 0 when nothing is';
COMMENT ON COLUMN casq.counter_status.lag IS 'since that tick was taken';
COMMENT ON COLUMN casq.counter_status.buffer_age IS 'age of the oldest event that is not flushed';

CREATE VIEW casq.cursor_status AS
 SELECT c.name,
        CASE
            WHEN (session.pid IS NOT NULL) THEN c.holder
            ELSE NULL::text
        END AS holder,
    c.epoch,
    c.tick,
    c.page,
        CASE
            WHEN (at.id IS NOT NULL) THEN behind.events
            ELSE NULL::bigint
        END AS lag_events,
        CASE
            WHEN (at.id IS NULL) THEN (GREATEST((0)::numeric, EXTRACT(epoch FROM (clock_timestamp() - COALESCE(c.caught_up_to, session.state_change,
            CASE
                WHEN (session.pid IS NULL) THEN GREATEST(c.moved_at, c.beat_at)
                ELSE NULL::timestamp with time zone
            END, clock_timestamp())))))::double precision
            WHEN (behind.events = 0) THEN (0)::double precision
            ELSE (GREATEST((0)::numeric, EXTRACT(epoch FROM (clock_timestamp() - behind.oldest))))::double precision
        END AS lag_seconds,
    GREATEST(c.moved_at, c.beat_at, session.state_change) AS last_beat,
    c.last_error,
    c.timeline,
    c.nonce,
    c.to_tick,
    c.moved_at
   FROM ((((casq.cursors c
     LEFT JOIN LATERAL ( SELECT a.pid,
            a.state_change
           FROM pg_stat_get_activity(COALESCE(c.backend_pid, 0)) a(datid, pid, usesysid, application_name, state, query, wait_event_type, wait_event, xact_start, query_start, backend_start, state_change, client_addr, client_hostname, client_port, backend_xid, backend_xmin, backend_type, ssl, sslversion, sslcipher, sslbits, ssl_client_dn, ssl_client_serial, ssl_issuer_dn, gss_auth, gss_princ, gss_enc, leader_pid, query_id)
          WHERE ((a.backend_start = c.backend_start) OR (a.backend_start IS NULL))) session ON (true))
     LEFT JOIN casq.ticks at ON (((at.id = c.tick) AND (at.nonce = c.nonce))))
     LEFT JOIN casq.ticks target ON (((target.id = c.to_tick) AND (target.nonce = c.to_nonce))))
     LEFT JOIN LATERAL ( SELECT count(*) AS events,
            min(e.occurred_at) AS oldest
           FROM ( SELECT n.xid,
                    n.id,
                    n.occurred_at
                   FROM casq.events n
                  WHERE ((n.xid >= pg_snapshot_xmax(at.snapshot)) AND (c.name <> 'views'::text))
                UNION ALL
                 SELECT l.xid,
                    l.id,
                    l.occurred_at
                   FROM (pg_snapshot_xip(at.snapshot) late(xid)
                     CROSS JOIN LATERAL ( SELECT e_1.xid,
                            e_1.id,
                            e_1.kind,
                            e_1.resource_id,
                            e_1.op,
                            e_1.bulk,
                            e_1.scope_id,
                            e_1.moved,
                            e_1.size_delta,
                            e_1.item_delta,
                            e_1.payload,
                            e_1.occurred_at
                           FROM casq.events e_1
                          WHERE ((e_1.xid = late.xid) AND (c.name <> 'views'::text))
                         OFFSET 0) l)
                UNION ALL
                 SELECT n.xid,
                    n.id,
                    n.noted_at
                   FROM casq.source_changes n
                  WHERE ((c.name = 'views'::text) AND (NOT pg_visible_in_snapshot(n.xid, at.snapshot)))) e
          WHERE ((target.id IS NULL) OR (e.id > c.page) OR (NOT pg_visible_in_snapshot(e.xid, target.snapshot)))) behind ON ((at.id IS NOT NULL)));
COMMENT ON VIEW casq.cursor_status IS 'How far this database''s cursors have come in the log, a row for each. Of a backlog of a million events it takes some 0.3 s.';
COMMENT ON COLUMN casq.cursor_status.name IS 'registry (what is copied follows this one), or another consumer of the log';
COMMENT ON COLUMN casq.cursor_status.holder IS 'the process that moves it, host and pid; NULL when its session is over';
COMMENT ON COLUMN casq.cursor_status.epoch IS 'rises with each change of the holder: what an earlier one still writes is refused';
COMMENT ON COLUMN casq.cursor_status.tick IS 'the newest tick of the log that is applied';
COMMENT ON COLUMN casq.cursor_status.page IS 'within a step that is read in pages: the last event that is applied; else 0';
COMMENT ON COLUMN casq.cursor_status.lag_events IS 'events that are not applied yet, for views changes of sources; NULL where the log is another database''s, and cannot be counted here';
COMMENT ON COLUMN casq.cursor_status.lag_seconds IS 'age of the oldest of them; of another database''s log: how long ago all that it had was applied';
COMMENT ON COLUMN casq.cursor_status.last_beat IS 'last sign of life of the holder';
COMMENT ON COLUMN casq.cursor_status.last_error IS 'what has kept it from going on; NULL since it goes on';
COMMENT ON COLUMN casq.cursor_status.timeline IS 'timeline of the log: another one begins with each failover of its database, and when a dump of it is restored';
COMMENT ON COLUMN casq.cursor_status.nonce IS 'of the tick: two logs that were one do not share it';
COMMENT ON COLUMN casq.cursor_status.to_tick IS 'end of the step that is read in pages; else 0';
COMMENT ON COLUMN casq.cursor_status.moved_at IS 'when it last moved';

CREATE VIEW casq.followed_log AS
 SELECT w.source_timeline AS timeline,
    w.source_tick AS tick,
    w.beat_at AS measured_at,
    w.source_behind AS behind,
        CASE
            WHEN (w.source_answered >= '00:00:30'::interval) THEN ((clock_timestamp() - w.beat_at) + w.source_answered)
            ELSE NULL::interval
        END AS away,
        CASE
            WHEN ((w.source_answered < '00:00:30'::interval) AND (w.source_moved >= '00:00:30'::interval)) THEN ((clock_timestamp() - w.beat_at) + w.source_moved)
            ELSE NULL::interval
        END AS stands
   FROM casq.live_workers w
  WHERE (w.source_answered IS NOT NULL)
  ORDER BY (w.source_answered >= '00:00:30'::interval), w.source_timeline DESC NULLS LAST, w.source_tick DESC NULLS LAST, w.source_moved
 LIMIT 1;
COMMENT ON VIEW casq.followed_log IS 'What is known of the log that is followed elsewhere, by the live worker that knows most of it. No row where no other is followed.';
COMMENT ON COLUMN casq.followed_log.timeline IS 'timeline of the log';
COMMENT ON COLUMN casq.followed_log.tick IS 'its newest tick';
COMMENT ON COLUMN casq.followed_log.measured_at IS 'when that worker has told so';
COMMENT ON COLUMN casq.followed_log.behind IS 'how far the host that is read is behind its primary; NULL: not known';
COMMENT ON COLUMN casq.followed_log.away IS 'for how long it has not answered; NULL: it does';
COMMENT ON COLUMN casq.followed_log.stands IS 'for how long it has had no new tick; NULL: it has them';

CREATE VIEW casq.follower_status AS
 SELECT f.name,
    f.reported_at,
    f.tick,
    b.events,
    b.resources AS event_resources,
    b.bytes AS event_bytes,
    b.more,
    (COALESCE(EXTRACT(epoch FROM (clock_timestamp() - b.oldest)), (
        CASE
            WHEN (b.events = 0) THEN 0
            ELSE NULL::integer
        END)::numeric))::double precision AS lag_seconds,
    f.resources,
    f.bytes
   FROM (casq.followers f
     LEFT JOIN LATERAL casq.events_beyond(f.tick, f.nonce) b(events, resources, bytes, more, oldest) ON (true));
COMMENT ON VIEW casq.follower_status IS 'The sites that follow this log, and what they would lose if this one were lost now.';
COMMENT ON COLUMN casq.follower_status.name IS 'as in casq.followers';
COMMENT ON COLUMN casq.follower_status.reported_at IS 'as in casq.followers';
COMMENT ON COLUMN casq.follower_status.tick IS 'as in casq.followers';
COMMENT ON COLUMN casq.follower_status.events IS 'how many events it has still to apply, counted up to 10,000';
COMMENT ON COLUMN casq.follower_status.event_resources IS 'of how many resources they are';
COMMENT ON COLUMN casq.follower_status.event_bytes IS 'the bytes that came with them';
COMMENT ON COLUMN casq.follower_status.more IS 'there may be more of them';
COMMENT ON COLUMN casq.follower_status.lag_seconds IS 'age of the oldest of them; 0: none';
COMMENT ON COLUMN casq.follower_status.resources IS 'how many resources it wanted and had not in place when it has reported';
COMMENT ON COLUMN casq.follower_status.bytes IS 'the bytes that were asked for of those';

CREATE VIEW casq.live_workers AS
 SELECT w.id,
    w.host,
    w.pid,
    w.version,
    w.schema_version,
    w.started_at,
    w.beat_at,
    w.roles,
    w.waiting,
    w.queues,
    w.source_timeline,
    w.source_tick,
    w.source_moved,
    w.source_answered,
    w.source_behind
   FROM casq.workers w
  WHERE (w.beat_at > (clock_timestamp() - '00:00:30'::interval));
COMMENT ON VIEW casq.live_workers IS 'The rows of casq.workers that have shown a sign of life within 30 s.';
COMMENT ON COLUMN casq.live_workers.id IS 'as in casq.workers';
COMMENT ON COLUMN casq.live_workers.host IS 'its machine';
COMMENT ON COLUMN casq.live_workers.pid IS 'its number there';
COMMENT ON COLUMN casq.live_workers.version IS 'of the program';
COMMENT ON COLUMN casq.live_workers.schema_version IS 'the newest migration that it knows';
COMMENT ON COLUMN casq.live_workers.started_at IS 'when it began';
COMMENT ON COLUMN casq.live_workers.beat_at IS 'when it gave the last sign of life';
COMMENT ON COLUMN casq.live_workers.roles IS 'as /readyz has them, by name: ready, error, warning; and seconds, for how long so';
COMMENT ON COLUMN casq.live_workers.waiting IS 'what it waits for before it has any role';
COMMENT ON COLUMN casq.live_workers.queues IS 'queues that it serves';
COMMENT ON COLUMN casq.live_workers.source_timeline IS 'of the log that it follows elsewhere; NULL: it follows no other';
COMMENT ON COLUMN casq.live_workers.source_tick IS 'the newest tick that it has seen there';
COMMENT ON COLUMN casq.live_workers.source_moved IS 'since a newer tick was seen for the first time, as of beat_at';
COMMENT ON COLUMN casq.live_workers.source_answered IS 'since the source last answered, as of beat_at';
COMMENT ON COLUMN casq.live_workers.source_behind IS 'how far the host that it reads is behind its primary; NULL: not known';

CREATE VIEW casq.neighbours AS
 SELECT k.kind,
    o.kind AS neighbour
   FROM (casq.kinds k
     JOIN casq.kinds o ON (((o.transfer = k.transfer) AND (o.kind <> k.kind) AND casq.prefixes_overlap(k.prefix, o.prefix))));
COMMENT ON VIEW casq.neighbours IS 'Which kinds share a tree at this site''s target, since their prefixes overlap.';
COMMENT ON COLUMN casq.neighbours.kind IS 'a kind';
COMMENT ON COLUMN casq.neighbours.neighbour IS 'another one, of the same transfer';

CREATE VIEW casq.reconcile_report AS
 SELECT r.id AS run,
    r.reason,
    r.dry_run,
        CASE
            WHEN (r.finished_at IS NOT NULL) THEN 'finished'::text
            WHEN (EXISTS ( SELECT
               FROM casq.processes p
              WHERE ((p.id = r.process) AND (p.dead_at IS NULL)))) THEN 'running'::text
            WHEN (r.waiting IS NOT NULL) THEN 'waiting'::text
            ELSE 'asked'::text
        END AS state,
    r.phase,
    r.at_kind,
    r.waiting,
    r.requested_at,
    r.started_at,
    r.finished_at,
    c.kind,
    c.unlisted,
    c.examined,
    c.created,
    c.adopted,
    c.changed,
    c.removed,
    c.requeued,
    c.checks,
    c.late,
    c.staging_removed,
    c.held_back,
    c.orphans,
    c.orphans_removed
   FROM (casq.reconcile_runs r
     LEFT JOIN casq.reconcile_counts c ON ((c.run = r.id)));
COMMENT ON VIEW casq.reconcile_report IS 'What came of comparing the registry with the source, and with what is in place: a row for each run and kind.';
COMMENT ON COLUMN casq.reconcile_report.run IS 'number of the run';
COMMENT ON COLUMN casq.reconcile_report.reason IS 'asked, scheduled, lost or pruned (the log had gone before it was read), failover, selected';
COMMENT ON COLUMN casq.reconcile_report.dry_run IS 'whether it only reports';
COMMENT ON COLUMN casq.reconcile_report.state IS 'asked, waiting, running, finished';
COMMENT ON COLUMN casq.reconcile_report.phase IS 'resources (of the source), rows (of the registry), staging, walk (of what is in place)';
COMMENT ON COLUMN casq.reconcile_report.at_kind IS 'the kind that it is at';
COMMENT ON COLUMN casq.reconcile_report.waiting IS 'why it stands still; NULL: it does not';
COMMENT ON COLUMN casq.reconcile_report.requested_at IS 'when it was asked for';
COMMENT ON COLUMN casq.reconcile_report.started_at IS 'when it began';
COMMENT ON COLUMN casq.reconcile_report.finished_at IS 'when it ended';
COMMENT ON COLUMN casq.reconcile_report.kind IS ''''' for what belongs to no kind, such as staging; NULL before it has begun';
COMMENT ON COLUMN casq.reconcile_report.unlisted IS 'whether the source has no table to list this kind from';
COMMENT ON COLUMN casq.reconcile_report.examined IS 'resources of the source and rows of the registry that were compared';
COMMENT ON COLUMN casq.reconcile_report.created IS 'resources that the registry did not have';
COMMENT ON COLUMN casq.reconcile_report.adopted IS 'of these, those of which something was in place already';
COMMENT ON COLUMN casq.reconcile_report.changed IS 'resources whose payload differed';
COMMENT ON COLUMN casq.reconcile_report.removed IS 'resources that the source did not have any more';
COMMENT ON COLUMN casq.reconcile_report.requeued IS 'resources that had nothing to bring them on, and got a job';
COMMENT ON COLUMN casq.reconcile_report.checks IS 'resources that are to be compared by content';
COMMENT ON COLUMN casq.reconcile_report.late IS 'differences that the log has on its way';
COMMENT ON COLUMN casq.reconcile_report.staging_removed IS 'leftovers of copies that were killed';
COMMENT ON COLUMN casq.reconcile_report.held_back IS 'not removed, since there were too many: see enqueue reconcile --remove';
COMMENT ON COLUMN casq.reconcile_report.orphans IS 'in place, and of no resource';
COMMENT ON COLUMN casq.reconcile_report.orphans_removed IS 'of these, those that were removed';

CREATE VIEW casq.refresh_status AS
 SELECT r.id,
    r.kind,
    r.scope_id,
    r.state,
    s.compare,
    r.requested_at,
    r.started_at,
    r.finalizing_at,
    r.finished_at,
    s.job AS scan_job,
    r.finalize_job,
    s.flush_job,
    r.flush_epoch,
    s.host,
    s.scanned_rows,
    s.tries,
    r.old_size,
    r.new_size,
    r.old_items,
    r.new_items,
    r.drift_size,
    r.drift_items,
    s.floor_tick,
    s.timeline AS scan_timeline,
    s.tick AS scan_tick,
    s.nonce AS scan_nonce,
    s.xids AS scan_xids,
    r.reason,
    r.scan,
    s.part_of
   FROM (casq.refreshes r
     JOIN casq.scans s ON ((s.id = r.scan)));
COMMENT ON VIEW casq.refresh_status IS 'Recounts, a row for each scope that was recounted, and one with scope_id NULL for all scopes of a kind.';
COMMENT ON COLUMN casq.refresh_status.id IS 'number of the recount, as enqueue refresh cancel takes it';
COMMENT ON COLUMN casq.refresh_status.kind IS 'its kind';
COMMENT ON COLUMN casq.refresh_status.scope_id IS 'NULL: all scopes of the kind';
COMMENT ON COLUMN casq.refresh_status.state IS 'created, running (the table is scanned), finalizing (waits for the log to come so far), done, failed, cancelled';
COMMENT ON COLUMN casq.refresh_status.compare IS 'whether it only compares (enqueue refresh --check)';
COMMENT ON COLUMN casq.refresh_status.requested_at IS 'when it was asked for';
COMMENT ON COLUMN casq.refresh_status.started_at IS 'when the scan began';
COMMENT ON COLUMN casq.refresh_status.finalizing_at IS 'when the scan had ended';
COMMENT ON COLUMN casq.refresh_status.finished_at IS 'when it ended';
COMMENT ON COLUMN casq.refresh_status.scan_job IS 'River job of the scan';
COMMENT ON COLUMN casq.refresh_status.finalize_job IS 'River job that sets the counter';
COMMENT ON COLUMN casq.refresh_status.flush_job IS 'River job that writes what is pending';
COMMENT ON COLUMN casq.refresh_status.flush_epoch IS 'flush of the shard that it waits for';
COMMENT ON COLUMN casq.refresh_status.host IS 'server that was scanned';
COMMENT ON COLUMN casq.refresh_status.scanned_rows IS 'rows that the scan has added up';
COMMENT ON COLUMN casq.refresh_status.tries IS 'scans that were begun';
COMMENT ON COLUMN casq.refresh_status.old_size IS 'size that was counted';
COMMENT ON COLUMN casq.refresh_status.new_size IS 'size that is right';
COMMENT ON COLUMN casq.refresh_status.old_items IS 'items that were counted';
COMMENT ON COLUMN casq.refresh_status.new_items IS 'items that is right';
COMMENT ON COLUMN casq.refresh_status.drift_size IS 'new_size - old_size: 0 unless something was missed';
COMMENT ON COLUMN casq.refresh_status.drift_items IS 'new_items - old_items';
COMMENT ON COLUMN casq.refresh_status.floor_tick IS 'events beyond this tick are kept until it is over';
COMMENT ON COLUMN casq.refresh_status.scan_timeline IS 'timeline of the log that the scan saw';
COMMENT ON COLUMN casq.refresh_status.scan_tick IS 'newest tick that the scan saw';
COMMENT ON COLUMN casq.refresh_status.scan_nonce IS 'nonce of that tick';
COMMENT ON COLUMN casq.refresh_status.scan_xids IS 'transactions that the scan saw, and that tick does not';
COMMENT ON COLUMN casq.refresh_status.reason IS 'why it failed, or was cancelled';
COMMENT ON COLUMN casq.refresh_status.scan IS 'the scan, which has the parts of a recount that is made in parts';
COMMENT ON COLUMN casq.refresh_status.part_of IS 'the scan that this one is a part of; NULL: of none';

CREATE VIEW casq.registry_failures AS
 SELECT g.kind,
    COALESCE(g.reason, 'unknown'::text) AS reason,
    (sum(g.count))::bigint AS count,
    min(g.first_at) AS first_seen,
    max(g.last_at) AS last_seen
   FROM casq.registry_groups g
  WHERE (g.state = 'failed'::text)
  GROUP BY g.kind, COALESCE(g.reason, 'unknown'::text);
COMMENT ON VIEW casq.registry_failures IS 'What has failed, in groups of errors that have one cause. Its resources: SELECT resource_id FROM casq.registry WHERE kind = ... AND failure_reason = ... AND failed_version = version.';
COMMENT ON COLUMN casq.registry_failures.kind IS 'its kind';
COMMENT ON COLUMN casq.registry_failures.reason IS 'what the errors have in common';
COMMENT ON COLUMN casq.registry_failures.count IS 'how many resources';
COMMENT ON COLUMN casq.registry_failures.first_seen IS 'when a resource first failed so, since there have been any';
COMMENT ON COLUMN casq.registry_failures.last_seen IS 'when one last did';

CREATE VIEW casq.registry_groups AS
 SELECT g.kind,
    g.state,
    g.deleted,
    g.reason,
    g.since,
    g.process,
    (sum(g.count))::bigint AS count,
    sum(g.bytes) AS bytes,
    min(g.first_at) AS first_at,
    max(g.last_at) AS last_at
   FROM ( SELECT c.kind,
            c.state,
            c.deleted,
            c.reason,
            c.since,
            c.process,
            c.count,
            c.bytes,
            c.first_at,
            c.last_at
           FROM casq.registry_counts c
        UNION ALL
         SELECT d.kind,
            d.state,
            d.deleted,
            d.reason,
            d.since,
            d.process,
            d.count,
            d.bytes,
                CASE
                    WHEN (d.count > 0) THEN d.at
                    ELSE NULL::timestamp with time zone
                END AS "case",
                CASE
                    WHEN (d.count > 0) THEN d.at
                    ELSE NULL::timestamp with time zone
                END AS "case"
           FROM casq.registry_changes d) g
  GROUP BY g.kind, g.state, g.deleted, g.reason, g.since, g.process
 HAVING (sum(g.count) <> (0)::numeric);
COMMENT ON VIEW casq.registry_groups IS 'The kept counts that casq.registry_summary and casq.registry_failures add up, at most some hundred rows in quiet times.';
COMMENT ON COLUMN casq.registry_groups.kind IS 'its kind';
COMMENT ON COLUMN casq.registry_groups.state IS 'synced, removed, absent, failed, pending or removing, whether or not a process works on it';
COMMENT ON COLUMN casq.registry_groups.deleted IS 'whether it is to be removed, or was';
COMMENT ON COLUMN casq.registry_groups.reason IS 'of failures: what their errors have in common';
COMMENT ON COLUMN casq.registry_groups.since IS 'the ten seconds in which they were asked for; NULL of what is done, or has failed';
COMMENT ON COLUMN casq.registry_groups.process IS 'that has claimed them; NULL: no process has';
COMMENT ON COLUMN casq.registry_groups.count IS 'how many resources';
COMMENT ON COLUMN casq.registry_groups.bytes IS 'of what is in place of them';
COMMENT ON COLUMN casq.registry_groups.first_at IS 'when a resource first came into the group';
COMMENT ON COLUMN casq.registry_groups.last_at IS 'when one last did';

CREATE VIEW casq.registry_status AS
 SELECT r.kind,
    r.resource_id,
    casq.status_of(casq.base_state(r.version, r.synced_version, r.failed_version, r.absent, (r.deleted_at IS NOT NULL)), (r.deleted_at IS NOT NULL), (p.id IS NOT NULL)) AS status,
    r.version,
    r.synced_version,
    r.attempts,
    r.last_error,
    r.retry_at,
    p.id AS claim_process,
    r.deleted_at,
    r.queued_at,
        CASE
            WHEN ((r.failed_version = r.version) AND (r.synced_version IS DISTINCT FROM r.version)) THEN r.missing_since
            ELSE NULL::timestamp with time zone
        END AS missing_since,
    r.compared_at
   FROM (casq.registry r
     LEFT JOIN casq.processes p ON (((p.id = r.claim_process) AND (p.dead_at IS NULL))));
COMMENT ON VIEW casq.registry_status IS 'A row for each resource: what is wanted of it, and how far that is. Ask for one by kind and resource_id, or for a kind by pages in the order of resource_id; how many there are of each status is kept in casq.registry_summary.';
COMMENT ON COLUMN casq.registry_status.kind IS 'its kind';
COMMENT ON COLUMN casq.registry_status.resource_id IS 'its key, as the application has it';
COMMENT ON COLUMN casq.registry_status.status IS 'pending, started, synced, absent (the source does not have its bytes, which is no failure of its kind), failed, removing, removed';
COMMENT ON COLUMN casq.registry_status.version IS 'rises with each change that is asked for; the token that jobs carry';
COMMENT ON COLUMN casq.registry_status.synced_version IS 'the version that is in place; NULL: nothing was ever';
COMMENT ON COLUMN casq.registry_status.attempts IS 'failed attempts at this version';
COMMENT ON COLUMN casq.registry_status.last_error IS 'of the last attempt that failed';
COMMENT ON COLUMN casq.registry_status.retry_at IS 'when it is tried again; NULL: not by itself';
COMMENT ON COLUMN casq.registry_status.claim_process IS 'the live process that works on it; NULL: no process does';
COMMENT ON COLUMN casq.registry_status.deleted_at IS 'when its deletion was learned of; NULL: it is wanted';
COMMENT ON COLUMN casq.registry_status.queued_at IS 'when this version was asked for';
COMMENT ON COLUMN casq.registry_status.missing_since IS 'since when the source does not have its bytes; NULL: they were not missed';
COMMENT ON COLUMN casq.registry_status.compared_at IS 'when a probe last found the source to be as it is here: it was so then, or later; NULL: no probe has (casq.kinds.probe)';

CREATE VIEW casq.registry_summary AS
 SELECT g.kind,
    casq.status_of(g.state, g.deleted, (p.id IS NOT NULL)) AS status,
    (sum(g.count))::bigint AS count,
    (sum(g.bytes))::bigint AS bytes,
    min(g.since) AS oldest
   FROM (casq.registry_groups g
     LEFT JOIN casq.processes p ON (((p.id = g.process) AND (p.dead_at IS NULL))))
  GROUP BY g.kind, (casq.status_of(g.state, g.deleted, (p.id IS NOT NULL)));
COMMENT ON VIEW casq.registry_summary IS 'How many resources of a kind have which status. The counts are kept, in the transactions that change resources: exact as of the reader''s snapshot, and as cheap for ten million as for ten.';
COMMENT ON COLUMN casq.registry_summary.kind IS 'its kind';
COMMENT ON COLUMN casq.registry_summary.status IS 'as in casq.registry_status';
COMMENT ON COLUMN casq.registry_summary.count IS 'how many resources';
COMMENT ON COLUMN casq.registry_summary.bytes IS 'of what is in place of them';
COMMENT ON COLUMN casq.registry_summary.oldest IS 'when the one that has waited longest was asked for, to ten seconds; NULL of what is done, or has failed';

CREATE VIEW casq.replication_lags AS
 SELECT k.kind,
    GREATEST((COALESCE(log.to_standby, (0)::double precision) + log.to_registry), (EXTRACT(epoch FROM (now.at - work.oldest_at)))::double precision) AS lag_seconds,
    log.to_standby AS to_standby_seconds,
    log.to_registry AS to_registry_seconds,
        CASE
            WHEN (log.tick IS NOT NULL) THEN (COALESCE(GREATEST((0)::numeric, EXTRACT(epoch FROM (now.at - work.waits_since))), (0)::numeric))::double precision
            ELSE NULL::double precision
        END AS queue_seconds,
        CASE
            WHEN (log.tick IS NOT NULL) THEN (COALESCE(GREATEST((0)::numeric, EXTRACT(epoch FROM (now.at - work.runs_since))), (0)::numeric))::double precision
            ELSE NULL::double precision
        END AS copy_seconds,
    COALESCE(work.resources, (0)::bigint) AS resources,
    work.oldest_at,
    work.resource_id AS oldest_resource,
    log.timeline,
    log.tick,
    log.measured_at
   FROM ((((casq.kinds k
     CROSS JOIN ( SELECT clock_timestamp() AS at) now)
     LEFT JOIN ( SELECT c.timeline,
            c.tick,
                CASE
                    WHEN own.here THEN clock_timestamp()
                    ELSE f.measured_at
                END AS measured_at,
            (
                CASE
                    WHEN own.here THEN (0)::numeric
                    WHEN (f.away IS NULL) THEN EXTRACT(epoch FROM GREATEST(f.behind, f.stands))
                    ELSE NULL::numeric
                END)::double precision AS to_standby,
            GREATEST((0)::double precision, (casq.log_age(c.*) - (
                CASE
                    WHEN own.here THEN (0)::numeric
                    ELSE COALESCE(EXTRACT(epoch FROM f.stands), (0)::numeric)
                END)::double precision)) AS to_registry
           FROM ((casq.cursors c
             CROSS JOIN LATERAL ( SELECT (EXISTS ( SELECT
                           FROM casq.ticks t
                          WHERE ((t.id = c.tick) AND (t.nonce = c.nonce)))) AS here) own)
             LEFT JOIN casq.followed_log f ON (true))
          WHERE (c.name = 'registry'::text)) log ON (true))
     LEFT JOIN ( SELECT g_1.kind,
            (sum(g_1.count))::bigint AS resources,
            min(g_1.since) AS since,
            min(g_1.since) FILTER (WHERE (p.id IS NULL)) AS waits_since,
            (min(g_1.since) - min((g_1.since - COALESCE(d.delay, '00:00:00'::interval)))) AS delay
           FROM ((( SELECT g_2.kind,
                    g_2.state,
                    g_2.since,
                    g_2.process,
                    sum(g_2.count) AS count
                   FROM ( SELECT g_3.kind,
                            g_3.state,
                            g_3.since,
                            g_3.process,
                            g_3.count
                           FROM casq.registry_groups g_3
                        UNION ALL
                         SELECT w.kind,
                            'removing'::text,
                            w.since,
                            w.process,
                            '-1'::integer
                           FROM casq.kept_copies() w(kind, since, process)) g_2
                  GROUP BY g_2.kind, g_2.state, g_2.since, g_2.process
                 HAVING (sum(g_2.count) > (0)::numeric)) g_1
             LEFT JOIN casq.processes p ON (((p.id = g_1.process) AND (p.dead_at IS NULL))))
             LEFT JOIN casq.log_delays d ON (((d.cursor = 'registry'::text) AND (d.since = g_1.since))))
          WHERE (g_1.state = ANY (ARRAY['pending'::text, 'removing'::text]))
          GROUP BY g_1.kind) g ON ((g.kind = k.kind)))
     LEFT JOIN LATERAL ( SELECT g.resources,
            w.resource_id,
            w.runs_since,
            (
                CASE
                    WHEN (w.queued_at < (g.since + '00:00:10'::interval)) THEN w.queued_at
                    ELSE LEAST(now.at, (g.since + '00:00:10'::interval))
                END - g.delay) AS oldest_at,
                CASE
                    WHEN (w.waits_since < (g.waits_since + '00:00:10'::interval)) THEN w.waits_since
                    ELSE LEAST(now.at, (g.waits_since + '00:00:10'::interval))
                END AS waits_since
           FROM casq.oldest_work(k.kind, k.queue) w(resource_id, queued_at, waits_since, runs_since)
          WHERE (g.resources > 0)) work ON (true));
COMMENT ON VIEW casq.replication_lags IS 'How late copies are, by kind, in seconds by this database''s clock: what is committed at the source, and not in place here. Right when idle (0), while the source is away (it grows), and after a failover. What has failed is not late: see casq.registry_failures.';
COMMENT ON COLUMN casq.replication_lags.kind IS 'its kind';
COMMENT ON COLUMN casq.replication_lags.lag_seconds IS 'age of the oldest change that is not in place; NULL where this site copies nothing';
COMMENT ON COLUMN casq.replication_lags.to_standby_seconds IS 'in the primary''s log, and not shown by the host that is followed; NULL: not known';
COMMENT ON COLUMN casq.replication_lags.to_registry_seconds IS 'shown there, and not applied here';
COMMENT ON COLUMN casq.replication_lags.queue_seconds IS 'in the registry, and no process works on it, to ten seconds';
COMMENT ON COLUMN casq.replication_lags.copy_seconds IS 'a process works on it';
COMMENT ON COLUMN casq.replication_lags.resources IS 'how many are not in place';
COMMENT ON COLUMN casq.replication_lags.oldest_at IS 'when the oldest of them was committed, at the earliest';
COMMENT ON COLUMN casq.replication_lags.oldest_resource IS 'its key, where the jobs name it';
COMMENT ON COLUMN casq.replication_lags.timeline IS 'timeline of the log';
COMMENT ON COLUMN casq.replication_lags.tick IS 'the newest tick that is applied here';
COMMENT ON COLUMN casq.replication_lags.measured_at IS 'when a worker has last told of the log';

CREATE VIEW casq.runner_status AS
 SELECT r.id,
    r.description,
    r.tags,
    r.run_untagged,
    r.projects,
    r.paused,
    r.max_running,
    m.processes,
    m.contacted_at,
    COALESCE(b.running, (0)::bigint) AS running,
    COALESCE(b.not_begun, (0)::bigint) AS not_begun
   FROM ((casq.runners r
     LEFT JOIN LATERAL ( SELECT count(*) AS processes,
            max(m_1.contacted_at) AS contacted_at
           FROM casq.runner_managers m_1
          WHERE (m_1.runner_id = r.id)) m ON (true))
     LEFT JOIN LATERAL ( SELECT count(*) AS running,
            count(*) FILTER (WHERE (b_1.started_at IS NULL)) AS not_begun
           FROM casq.builds b_1
          WHERE ((b_1.runner_id = r.id) AND (b_1.status = ANY (ARRAY['running'::text, 'canceling'::text])))) b ON (true));
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

CREATE VIEW casq.statistics AS
 SELECT c.kind,
    c.scope_id,
    c.size,
    c.items,
    COALESCE((k.complete OR (c.generation = k.generation)), false) AS exact,
    c.refresh,
    c.updated_at,
    s.tick AS as_of_tick,
    s.moved_at AS as_of
   FROM ((casq.counters c
     JOIN casq.counter_shards s USING (shard))
     LEFT JOIN casq.counter_kinds k USING (kind));
COMMENT ON VIEW casq.statistics IS 'The counters by kind and scope, as of the last flush: at most FLUSH_INTERVAL old while a worker runs. For the newest value, what is not flushed included: enqueue counter get.';
COMMENT ON COLUMN casq.statistics.kind IS 'its kind';
COMMENT ON COLUMN casq.statistics.scope_id IS 'project, or whatever else the scope column has; the empty text: of the rows in which it is NULL';
COMMENT ON COLUMN casq.statistics.size IS 'sum of the sizes, in the unit of the size column, bytes as a rule';
COMMENT ON COLUMN casq.statistics.items IS 'how many resources';
COMMENT ON COLUMN casq.statistics.exact IS 'whether it is the sum of all; false until a recount has ended';
COMMENT ON COLUMN casq.statistics.refresh IS 'the recount that it was last set by; NULL: the log alone';
COMMENT ON COLUMN casq.statistics.updated_at IS 'when it last changed';
COMMENT ON COLUMN casq.statistics.as_of_tick IS 'the tick of the log up to which it counts';
COMMENT ON COLUMN casq.statistics.as_of IS 'when it was flushed';

CREATE VIEW casq.stuck_pipelines AS
 SELECT b.pipeline_id,
    min(b.project_id) AS project_id,
    min(b.id) AS build
   FROM casq.builds b
  WHERE ((b.status = 'created'::text) AND (NOT (EXISTS ( SELECT
           FROM casq.builds o
          WHERE ((o.pipeline_id = b.pipeline_id) AND (o.status = ANY (ARRAY['pending'::text, 'running'::text, 'canceling'::text])))))))
  GROUP BY b.pipeline_id;
COMMENT ON VIEW casq.stuck_pipelines IS 'Pipelines in which a build waits for others and none of them can end: empty at all times, or something is wrong.';
COMMENT ON COLUMN casq.stuck_pipelines.pipeline_id IS 'the pipeline';
COMMENT ON COLUMN casq.stuck_pipelines.project_id IS 'its project';
COMMENT ON COLUMN casq.stuck_pipelines.build IS 'the first build that waits';

CREATE VIEW casq.view_status AS
 SELECT v.kind,
    v.name AS view,
    ( SELECT array_agg(s.name ORDER BY s.name) AS array_agg
           FROM (casq.view_sources p
             JOIN casq.sources s ON ((s.id = p.source)))
          WHERE (p.kind = v.kind)) AS sources,
    v.filled_at,
    v.compared_at,
    COALESCE(v.compare_began_at, v.compare_asked_at) AS comparing_since,
    v.compared_to,
    i.waiting,
    i.failed,
    v.error,
    v.failed_at
   FROM (casq.views v
     CROSS JOIN LATERAL ( SELECT count(*) FILTER (WHERE (w.reason IS NULL)) AS waiting,
            count(*) FILTER (WHERE (w.reason IS NOT NULL)) AS failed
           FROM casq.view_ids w
          WHERE (w.kind = v.kind)) i);
COMMENT ON VIEW casq.view_status IS 'The views that are tracked, what they are made of, and how far their images are.';
COMMENT ON COLUMN casq.view_status.kind IS 'what its rows are';
COMMENT ON COLUMN casq.view_status.view IS 'the view';
COMMENT ON COLUMN casq.view_status.sources IS 'the tables that it is made of';
COMMENT ON COLUMN casq.view_status.filled_at IS 'since when all its rows are followed; NULL: it is filled for the first time, and followers remove nothing';
COMMENT ON COLUMN casq.view_status.compared_at IS 'when all of it was last compared with its image';
COMMENT ON COLUMN casq.view_status.comparing_since IS 'since when a comparison is under way, or asked for; NULL: none is';
COMMENT ON COLUMN casq.view_status.compared_to IS 'the id that it has come to';
COMMENT ON COLUMN casq.view_status.waiting IS 'ids that wait to be evaluated';
COMMENT ON COLUMN casq.view_status.failed IS 'ids whose row cannot be followed: see casq.view_ids';
COMMENT ON COLUMN casq.view_status.error IS 'what keeps all of it from being evaluated; NULL: nothing';
COMMENT ON COLUMN casq.view_status.failed_at IS 'since when';

---- Functions

CREATE OR REPLACE FUNCTION casq.add_build(pipeline bigint, name text, job jsonb, tags text[] DEFAULT '{}'::text[], needs bigint[] DEFAULT '{}'::bigint[], stage text DEFAULT 'test'::text, priority integer DEFAULT 0, timeout integer DEFAULT 3600, allow_failure boolean DEFAULT false)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.admit_builds()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    project bigint := to_jsonb(NEW) ->> CASE TG_TABLE_NAME WHEN 'builds' THEN 'project_id' ELSE 'id' END;
BEGIN
    IF EXISTS (SELECT FROM casq.builds AS b WHERE b.project_id = project AND b.held) THEN
        PERFORM casq.admit_builds(project);
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.admit_builds(project bigint)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.adopt_log()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('casq.tick', 0));
    DELETE FROM casq.ticks;
    DELETE FROM casq.events;
    PERFORM casq.compare_views(anew => true);
    INSERT INTO casq.timelines (timeline, system_identifier, server_timeline, began_tick, began_lsn)
    SELECT coalesce((SELECT max(l.timeline) FROM casq.timelines AS l), 0) + 1, c.system_identifier,
           ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer,
           0, pg_current_wal_insert_lsn()
    FROM pg_control_system() AS c;
END $function$;

CREATE OR REPLACE FUNCTION casq.align(kind text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    t casq.tracked;
    member regclass;
    own oid;
    logged bigint;
    name text;
    said text;
BEGIN
    SELECT * INTO t FROM casq.tracked AS k WHERE k.kind = align.kind;
    PERFORM casq.check_relation(t.relation);
    PERFORM casq.check_columns(t);
    PERFORM set_config('casq.aligning', 'on', true);
    t.relation_oid := t.relation;
    t.numbers := (SELECT jsonb_object_agg(attname, attnum) FROM pg_attribute
                  WHERE attrelid = t.relation AND attname = ANY (casq.read_columns(t)));
    -- An event trigger should have refused it, and is not there.
    said := casq.note_rewrite(t, (SELECT c.relfilenode FROM pg_class AS c WHERE c.oid = t.relation), casq.shape(t));
    IF said IS NOT NULL THEN
        RAISE WARNING '%', said;
    END IF;
    t.filenode := (SELECT c.relfilenode FROM pg_class AS c WHERE c.oid = t.relation);
    t.shape := casq.shape(t);
    UPDATE casq.tracked AS k SET relation_oid = t.relation_oid, numbers = t.numbers, filenode = t.filenode, shape = t.shape
    WHERE k.kind = t.kind AND (k.relation_oid, k.numbers, k.filenode, k.shape) IS DISTINCT FROM (t.relation_oid, t.numbers, t.filenode, t.shape);
    PERFORM casq.put_log_function(t);
    own := format('casq.%I()', 'log_' || t.kind)::regprocedure;

    FOR member IN SELECT m FROM casq.members(t.relation) AS m
        WHERE m <> t.relation AND NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = m AND g.tgfoid = own)
        ORDER BY m::text
    LOOP
        IF EXISTS (SELECT FROM casq.tracked AS k WHERE k.relation = member) THEN
            RAISE EXCEPTION 'casq: % is tracked by itself, it cannot become a partition of %', member, t.relation
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = format('SELECT casq.untrack(%L) first.', member);
        END IF;
        PERFORM casq.put_triggers(t.kind, member), casq.log_partition(t, member, 'INSERT');
    END LOOP;
    FOR member IN SELECT DISTINCT g.tgrelid::regclass FROM pg_trigger AS g
        WHERE g.tgfoid = own AND g.tgrelid NOT IN (SELECT casq.members(t.relation))
    LOOP
        PERFORM casq.log_partition(t, member, 'DELETE'), casq.drop_triggers(t.kind, member);
    END LOOP;
    FOR member, name IN SELECT g.tgrelid, g.tgname FROM casq.members(t.relation) AS m
        JOIN pg_trigger AS g ON g.tgrelid = m
        WHERE g.tgname = ANY (casq.trigger_names(t.kind)) AND g.tgenabled <> 'A'
    LOOP
        RAISE WARNING 'casq: trigger % of % stays enabled', name, member
            USING HINT = format('Without it changes are lost; SELECT casq.untrack(%L) gives up tracking.', t.relation);
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', member, name);
    END LOOP;
    PERFORM set_config('casq.aligning', '', true);
END $function$;

CREATE OR REPLACE FUNCTION casq.align_source(source integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    s casq.sources;
    op text;
    aligning text := current_setting('casq.aligning', true);
    own oid;
BEGIN
    SELECT * INTO s FROM casq.sources AS x WHERE x.id = align_source.source;
    PERFORM casq.check_source(s.relation);
    UPDATE casq.sources AS x SET name = casq.full_name(s.relation) WHERE x.id = s.id AND x.name <> casq.full_name(s.relation);
    PERFORM casq.put_note_function(s);
    PERFORM set_config('casq.aligning', 'on', true);
    own := format('casq.note_%s()', s.id)::regprocedure;
    FOREACH op IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = s.relation AND g.tgname = 'casq_note_' || op AND g.tgfoid = own AND g.tgenabled = 'A');
        EXECUTE format('CREATE OR REPLACE TRIGGER casq_note_%1$s AFTER %1$s ON %2$s %3$s FOR EACH STATEMENT EXECUTE FUNCTION casq.note_%4$s()', op, s.relation,
            CASE op WHEN 'insert' THEN 'REFERENCING NEW TABLE AS casq_new' WHEN 'update' THEN 'REFERENCING OLD TABLE AS casq_old NEW TABLE AS casq_new'
                    WHEN 'delete' THEN 'REFERENCING OLD TABLE AS casq_old' ELSE '' END, s.id);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER casq_note_%s', s.relation, op);
    END LOOP;
    PERFORM set_config('casq.aligning', coalesce(aligning, ''), true);
END $function$;

CREATE OR REPLACE FUNCTION casq.append_event(kind text, resource_id text, op text, payload jsonb DEFAULT '{}'::jsonb, scope_id text DEFAULT NULL::text, size_delta bigint DEFAULT 0, item_delta bigint DEFAULT 0, moved text DEFAULT ''::text)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    event_id bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = append_event.kind) THEN
        RAISE EXCEPTION 'casq: unknown kind %', coalesce(quote_literal(append_event.kind), 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = format('Known kinds: %s. Add one with casq.track or casq.define_kind.',
                      coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.kinds AS k), 'none'));
    END IF;
    -- The transaction id comes before the event id: see casq.ticks.low_id.
    PERFORM pg_current_xact_id();
    INSERT INTO casq.events (kind, resource_id, op, scope_id, moved, size_delta, item_delta, payload)
    VALUES (append_event.kind, append_event.resource_id, append_event.op, append_event.scope_id, coalesce(append_event.moved, ''),
            append_event.size_delta, append_event.item_delta, append_event.payload)
    RETURNING id INTO event_id;
    RETURN event_id;
END $function$;

CREATE OR REPLACE FUNCTION casq.apply_source_changes(sources integer[], notes jsonb[], most integer DEFAULT 2000)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
 SET jit TO 'off'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO'
 SET "IntervalStyle" TO 'postgres'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET lc_monetary TO 'C'
AS $function$
DECLARE
    v casq.views;
    ids text[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: views are evaluated under READ COMMITTED, an old snapshot shows old rows' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM set_config('casq.bulk', '', true);
    FOR v IN SELECT * FROM casq.views AS x
        WHERE x.kind IN (SELECT p.kind FROM casq.view_sources AS p WHERE p.source = ANY (apply_source_changes.sources)) ORDER BY x.kind FOR UPDATE
    LOOP
        CONTINUE WHEN v.error IS NOT NULL; -- all of it is compared, once it can be
        BEGIN
            v := casq.open_view(v);
            ids := casq.find_ids(v, apply_source_changes.sources, apply_source_changes.notes);
            IF ids IS NULL THEN
                UPDATE casq.views AS x SET compare_asked_at = clock_timestamp() WHERE x.kind = v.kind;
            ELSIF ids <> '{}' THEN
                PERFORM casq.put_off_ids(v.kind, ids[most + 1:]);
                PERFORM casq.refresh_ids(v, ids[:most]);
            END IF;
        EXCEPTION WHEN OTHERS THEN
            IF casq.passes(SQLSTATE) THEN
                RAISE;
            END IF;
            PERFORM casq.fail_view(v.kind, SQLERRM);
        END;
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.ask_recount(kind text)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH asked AS (
        INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick)
        SELECT t.kind, true, false, coalesce(newest.timeline, 1), coalesce(newest.id, 0)
        FROM casq.tracked AS t
        LEFT JOIN LATERAL (SELECT k.timeline, k.id FROM casq.ticks AS k ORDER BY k.id DESC LIMIT 1) AS newest ON true
        WHERE t.kind = ask_recount.kind AND t.scope_column IS NOT NULL
          AND NOT EXISTS (SELECT FROM casq.scans AS s
                          WHERE s.kind = t.kind AND s.all_scopes AND NOT s.compare AND s.part IS NULL
                            AND s.finished_at IS NULL AND s.started_at IS NULL)
        RETURNING id, scans.kind
    )
    INSERT INTO casq.refreshes (scan, kind) SELECT a.id, a.kind FROM asked AS a
$function$;

CREATE OR REPLACE FUNCTION casq.backfill_page(kind text, after text, page_size integer, OUT n bigint, OUT last_key text, OUT busy text[])
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
DECLARE
    t casq.tracked := casq.tracked_kind(backfill_page.kind);
    key_column pg_attribute := casq.tracked_column(t, t.key_column);
    keys text[];
    done text[];
BEGIN
    PERFORM casq.check_trusted(t.relation);
    IF after IS NULL AND EXISTS (SELECT FROM casq.views AS v WHERE v.kind = t.kind) THEN
        PERFORM casq.compare_view(t.kind);
    END IF;
    -- The keys come first, without locks: a row that is moved while it is
    -- waited for would take the end of the page with it.
    EXECUTE format('SELECT coalesce(array_agg(k.key::text ORDER BY k.key), ''{}'')'
        ' FROM (SELECT r.%1$I AS key FROM %2$s AS r WHERE $1 IS NULL OR r.%1$I > $1::%3$s ORDER BY r.%1$I LIMIT $2) AS k',
        key_column.attname, t.relation, format_type(casq.base_type(key_column.atttypid), -1))
    INTO keys USING after, page_size;
    done := casq.backfill_rows(t.kind, keys, false);
    n := cardinality(done);
    last_key := keys[cardinality(keys)];
    busy := ARRAY(SELECT k FROM unnest(keys) AS k WHERE k <> ALL (done));
END $function$;

CREATE OR REPLACE FUNCTION casq.backfill_rows(kind text, keys text[], wait boolean)
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO'
 SET "IntervalStyle" TO 'postgres'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET lc_monetary TO 'C'
AS $function$
DECLARE
    t casq.tracked;
    s casq.track_sql;
    done text[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: backfill needs READ COMMITTED, an old snapshot shows old rows'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    t := casq.tracked_kind(backfill_rows.kind);
    s := casq.track_sql(t);
    EXECUTE format($sql$
        WITH present AS MATERIALIZED (
            SELECT %1$s AS key, %2$s AS scope, %3$s AS payload
            FROM %4$s AS r
            WHERE r.%5$I = ANY ($1::%6$s[])
            ORDER BY r.%5$I
            FOR SHARE %7$s
        ), logged AS (
            INSERT INTO casq.events (kind, resource_id, op, bulk, scope_id, payload)
            SELECT %8$L, %9$s, 'updated', true, c.scope, c.payload FROM present AS c
            RETURNING resource_id
        )
        SELECT coalesce(array_agg(resource_id), '{}') FROM logged$sql$,
        s.key, s.scope, s.payload, s.root, (casq.tracked_column(t, t.key_column)).attname,
        format_type(casq.base_type((casq.tracked_column(t, t.key_column)).atttypid), -1),
        CASE WHEN wait THEN '' ELSE 'SKIP LOCKED' END, t.kind, s.resource_id)
    INTO done USING keys;
    RETURN done;
END $function$;

CREATE OR REPLACE FUNCTION casq.base_state(version bigint, synced_version bigint, failed_version bigint, absent boolean, deleted boolean)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT CASE
        WHEN synced_version = version THEN CASE WHEN deleted THEN 'removed' ELSE 'synced' END
        WHEN failed_version = version THEN CASE WHEN absent THEN 'absent' ELSE 'failed' END
        WHEN deleted THEN 'removing'
        ELSE 'pending'
    END
$function$;

CREATE OR REPLACE FUNCTION casq.base_type(type oid)
 RETURNS oid
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH RECURSIVE domain AS (
        SELECT oid, typtype, typbasetype FROM pg_type WHERE oid = type
        UNION ALL
        SELECT b.oid, b.typtype, b.typbasetype FROM domain AS d
        JOIN pg_type AS b ON d.typtype = 'd' AND b.oid = d.typbasetype
    )
    SELECT oid FROM domain WHERE typtype <> 'd'
$function$;

CREATE OR REPLACE FUNCTION casq.begin_artifact(key text, build bigint, attempt integer)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM casq.tracked AS t WHERE t.relation = 'casq.artifacts'::regclass) THEN
        PERFORM casq.track('casq.artifacts', 'build_artifact', 'file', 'key',
            scope_column => 'project_id', size_column => 'size', payload_columns => '{sha256,size}');
    END IF;
    INSERT INTO casq.artifact_leftovers AS l (key, build_id, attempt)
    VALUES (begin_artifact.key, begin_artifact.build, begin_artifact.attempt);
END $function$;

CREATE OR REPLACE FUNCTION casq.begin_comparison(v casq.views, compare_after interval)
 RETURNS casq.views
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF v.renewed THEN
        -- It was made anew before this transaction began to write.
        UPDATE casq.views AS x SET renewed = false, compare_from = pg_current_xact_id() WHERE x.kind = v.kind RETURNING * INTO v;
    END IF;
    IF v.compare_began_at IS NULL AND (v.compare_asked_at IS NOT NULL OR v.compared_at < clock_timestamp() - compare_after)
        AND (v.compare_from IS NULL OR pg_snapshot_xmin(pg_current_snapshot()) >= v.compare_from) THEN
        UPDATE casq.views AS x SET compare_asked_at = NULL, compare_from = NULL, compare_began_at = clock_timestamp(), compared_to = NULL
        WHERE x.kind = v.kind RETURNING * INTO v;
    END IF;
    RETURN v;
END $function$;

CREATE OR REPLACE FUNCTION casq.begin_counting()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
DECLARE
    filled boolean;
    is_complete boolean;
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE casq.counter_kinds AS k SET complete = false, generation = generation + 1 WHERE k.kind = OLD.kind;
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.kind, OLD.relation, OLD.scope_column, OLD.size_column)
        IS NOT DISTINCT FROM (NEW.kind, NEW.relation, NEW.scope_column, NEW.size_column) THEN
        RETURN NULL;
    END IF;
    PERFORM casq.check_trusted(NEW.relation);
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', NEW.relation) INTO filled;
    INSERT INTO casq.counter_kinds AS k (kind, complete) VALUES (NEW.kind, NOT filled)
    -- It was tracked before: what happened in between is not in the log.
    ON CONFLICT (kind) DO UPDATE SET complete = false, generation = k.generation + 1
    RETURNING complete INTO is_complete;
    IF NOT is_complete THEN
        PERFORM casq.ask_recount(NEW.kind);
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.begin_pipeline(project bigint, ref text DEFAULT ''::text, sha text DEFAULT ''::text)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    pipeline bigint;
BEGIN
    INSERT INTO casq.projects (id) VALUES (project) ON CONFLICT DO NOTHING;
    INSERT INTO casq.pipelines AS p (project_id, ref, sha) VALUES (project, begin_pipeline.ref, begin_pipeline.sha)
    RETURNING p.id INTO pipeline;
    RETURN pipeline;
END $function$;

CREATE OR REPLACE FUNCTION casq.begin_server_timeline()
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    cluster bigint := (SELECT c.system_identifier FROM pg_control_system() AS c);
    line integer;
    newest casq.server_timelines;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a timeline begins on the primary only, this server is a standby'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Connect to the primary.';
    END IF;
    -- pg_control_checkpoint() shows a promotion only after the next checkpoint.
    line := ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer;
    LOCK TABLE casq.server_timelines IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO newest FROM casq.server_timelines ORDER BY timeline DESC LIMIT 1;
    IF (newest.system_identifier, newest.server_timeline) IS NOT DISTINCT FROM (cluster, line) THEN
        RETURN newest.timeline;
    END IF;
    -- A row that was seen must not be lost by a crash of this server.
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO casq.server_timelines (timeline, system_identifier, server_timeline, began_lsn)
    VALUES (greatest(coalesce(newest.timeline, 0) + 1, extract(epoch FROM clock_timestamp())::bigint << 24) + floor(random() * 16777216)::bigint,
            cluster, line, pg_current_wal_insert_lsn())
    RETURNING * INTO newest;
    RETURN newest.timeline;
END $function$;

CREATE OR REPLACE FUNCTION casq.bytes_asked(state text, payload jsonb)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE
AS $function$
    SELECT CASE WHEN state IN ('pending', 'failed') AND jsonb_typeof(payload -> 'size') = 'number'
                THEN greatest(0, (payload ->> 'size')::numeric) ELSE 0 END
$function$;

CREATE OR REPLACE FUNCTION casq.can_be_parent(kind text, parent text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    g casq.scope_groups := casq.scope_group(can_be_parent.kind);
    type oid := casq.base_type((casq.group_column(g, g.parent_column)).atttypid);
    can boolean;
BEGIN
    EXECUTE format('SELECT $1::%s::text COLLATE "C" = $1', format_type(type, -1)) INTO can USING parent;
    RETURN coalesce(can, false);
EXCEPTION WHEN data_exception THEN
    RETURN false;
END $function$;

CREATE OR REPLACE FUNCTION casq.cancel_build(build bigint)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.change_image(v casq.views, asked text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    ids text[] := '{}';
    rows text[] := '{}';
    more text[] := asked;
    steps integer := 0;
    judged record;
BEGIN
    WHILE more IS NOT NULL AND steps < 32 LOOP
        ids := ids || more;
        rows := rows || casq.evaluate_view(v, more);
        more := casq.entangled_ids(v, ids, rows);
        steps := steps + 1;
    END LOOP;
    IF more IS NOT NULL THEN
        EXECUTE format('DELETE FROM %s AS casq_h WHERE casq_h.%I = ANY ($1::%s[])', v.image, v.id_column, casq.image_type(v, v.id_column)) USING more;
        PERFORM casq.put_off_ids(v.kind, more);
    END IF;
    SELECT * INTO judged FROM casq.judge_rows(v, rows);
    PERFORM casq.write_image(v, ids, judged.good);
    DELETE FROM casq.view_ids AS p WHERE p.kind = v.kind AND p.id = ANY (ids)
        AND p.id NOT IN (SELECT b.value ->> 'id' FROM jsonb_array_elements(judged.bad) AS b);
    PERFORM casq.fail_id(v.kind, b.value ->> 'id', b.value ->> 'key', b.value ->> 'reason') FROM jsonb_array_elements(judged.bad) AS b;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_build()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.check_columns(t casq.tracked)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    a pg_attribute;
    called text;
    -- Types whose text does not depend on a session's settings.
    stable_types oid[] := ARRAY['int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype,
                                'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype];
BEGIN
    FOREACH called IN ARRAY casq.read_columns(t) LOOP
        a := casq.tracked_column(t, called);
        IF a.attgenerated = 'v' THEN
            RAISE EXCEPTION 'casq: column % of % is generated anew whenever it is read, triggers see no value of it',
                quote_ident(called), t.relation
                USING ERRCODE = 'feature_not_supported',
                      HINT = 'Have it STORED: GENERATED ALWAYS AS (...) STORED.';
        ELSIF a.attname <> called THEN
            RAISE EXCEPTION 'casq: column % of tracked table % is part of what workers are told, it keeps its name', quote_ident(called), t.relation
                USING ERRCODE = 'feature_not_supported',
                      HINT = format('In one transaction: SELECT casq.untrack(%L), rename it, SELECT casq.track(...) with the new name.', t.relation);
        END IF;
    END LOOP;
    IF cardinality(t.payload_columns) > 49 THEN
        RAISE EXCEPTION 'casq: a payload has at most 49 columns, these are %', cardinality(t.payload_columns)
            USING ERRCODE = 'too_many_columns';
    END IF;
    FOREACH called IN ARRAY array_remove(ARRAY[t.key_column, t.id_column, t.scope_column], NULL) LOOP
        a := casq.tracked_column(t, called);
        IF casq.base_type(a.atttypid) <> ALL (stable_types) THEN
            RAISE EXCEPTION 'casq: column % of % has type %, whose text is not the same everywhere',
                quote_ident(called), t.relation, format_type(a.atttypid, a.atttypmod)
                USING ERRCODE = 'datatype_mismatch',
                      HINT = 'A key, id or scope is an integer, a uuid or text; a generated text column will do (GENERATED ALWAYS AS (...) STORED).';
        END IF;
    END LOOP;
    IF t.size_column IS NOT NULL THEN
        a := casq.tracked_column(t, t.size_column);
        -- The low 11 bits of a numeric's typmod, less VARHDRSZ, are its scale.
        IF casq.base_type(a.atttypid) NOT IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
            AND NOT (a.atttypid = 'numeric'::regtype AND a.atttypmod >= 4 AND ((a.atttypmod - 4) & 2047) = 0)
        THEN
            RAISE EXCEPTION 'casq: size column % of % has type %, bytes are counted in an integer type or numeric(n, 0)',
                quote_ident(t.size_column), t.relation, format_type(a.atttypid, a.atttypmod)
                USING ERRCODE = 'datatype_mismatch';
        END IF;
    END IF;
    a := casq.tracked_column(t, t.key_column);
    IF NOT a.attnotnull THEN
        RAISE EXCEPTION 'casq: key column % of % may be NULL', quote_ident(t.key_column), t.relation
            USING ERRCODE = 'invalid_table_definition',
                  HINT = format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', t.relation, t.key_column);
    ELSIF casq.key_index(t.relation, a.attnum) IS NULL THEN
        RAISE EXCEPTION 'casq: key column % of % is not kept unique', quote_ident(t.key_column), t.relation
            USING ERRCODE = 'invalid_table_definition',
                  DETAIL = 'It needs a valid unique index of its own: no other column, no condition, not deferrable.',
                  HINT = CASE WHEN EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = t.relation)
                      THEN 'Over all partitions only the partition key can be unique by itself: partition by the key, or track another table.'
                      ELSE format('Only where the application never has two rows with the same: ALTER TABLE %s ADD UNIQUE (%I);'
                          ' otherwise that would break it, as where a name is unique for its owner: track a view, whose key is made of'
                          ' several columns (casq.track_view).', t.relation, t.key_column) END;
    END IF;
    PERFORM casq.check_id_column(t);
END $function$;

CREATE OR REPLACE FUNCTION casq.check_drop(kind text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    relation text;
    unread bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('casq.selections', 0));
    IF NOT EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = check_drop.kind) THEN
        RAISE EXCEPTION 'casq: unknown kind %', coalesce(quote_literal(check_drop.kind), 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = format('Known kinds: %s.', coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.kinds AS k), 'none'));
    END IF;
    SELECT t.name INTO relation FROM casq.tracked AS t WHERE t.kind = check_drop.kind;
    IF FOUND THEN
        RAISE EXCEPTION 'casq: kind % is that of table %', quote_literal(check_drop.kind), relation
            USING ERRCODE = 'dependent_objects_still_exist',
                  HINT = format('SELECT casq.untrack(kind => %L) first.', check_drop.kind);
    END IF;
    SELECT count(*) INTO unread
    FROM casq.cursors AS c
    JOIN casq.ticks AS at ON at.id = c.tick AND at.nonce = c.nonce
    LEFT JOIN casq.ticks AS target ON target.id = c.to_tick AND target.nonce = c.to_nonce
    JOIN casq.events AS e ON e.kind = check_drop.kind
        AND (e.xid >= pg_snapshot_xmax(at.snapshot) OR e.xid = ANY (ARRAY(SELECT pg_snapshot_xip(at.snapshot))))
        AND (target.id IS NULL OR e.id > c.page OR NOT pg_visible_in_snapshot(e.xid, target.snapshot))
    WHERE c.name = 'registry';
    IF unread > 0 THEN
        RAISE EXCEPTION 'casq: % events of kind % are still to be read', unread, quote_literal(check_drop.kind)
            USING ERRCODE = 'object_in_use',
                  HINT = 'A worker reads them; SELECT * FROM casq.cursor_status tells how far it is.';
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_id_column(t casq.tracked)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    a pg_attribute;
    partitioned boolean := EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = t.relation);
BEGIN
    IF t.id_column IS NULL THEN
        RETURN;
    END IF;
    a := casq.tracked_column(t, t.id_column);
    IF t.id_column = t.key_column THEN
        RAISE EXCEPTION 'casq: column % of % is the key: the id_column is one that stays the same when the key changes', quote_ident(t.id_column), t.relation
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave out id_column where there is none, or keys do not change.';
    ELSIF NOT a.attnotnull THEN
        RAISE EXCEPTION 'casq: id column % of % may be NULL', quote_ident(t.id_column), t.relation
            USING ERRCODE = 'invalid_table_definition',
                  HINT = format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', t.relation, t.id_column);
    ELSIF casq.key_index(t.relation, a.attnum) IS NULL AND NOT (partitioned AND EXISTS (
        SELECT FROM pg_index AS i WHERE i.indrelid = t.relation AND i.indisunique AND i.indisvalid AND i.indimmediate
                                    AND i.indpred IS NULL AND i.indkey[0] = a.attnum))
    THEN
        RAISE EXCEPTION 'casq: id column % of % is not kept unique', quote_ident(t.id_column), t.relation
            USING ERRCODE = 'invalid_table_definition',
                  HINT = format('ALTER TABLE %s ADD UNIQUE (%I%s);', t.relation, t.id_column, CASE WHEN partitioned THEN ', and the partition key' ELSE '' END);
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_ids(v casq.views, ids regclass, source text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    type oid := (SELECT casq.base_type(a.atttypid) FROM pg_attribute AS a WHERE a.attrelid = ids AND a.attname = 'id');
    wanted text := casq.image_type(v, v.id_column);
    unsteady text := casq.unsteady(ids);
BEGIN
    IF (CASE WHEN wanted IN ('smallint', 'integer', 'bigint') THEN type NOT IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
            WHEN wanted = 'text' THEN type NOT IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype)
            ELSE type <> wanted::regtype END) THEN
        RAISE EXCEPTION 'casq: the query of source % returns %, and ids of view % are %', source, type::regtype, v.view, wanted
            USING ERRCODE = 'datatype_mismatch', HINT = format('Have the query cast it: ::%s.', wanted);
    ELSIF EXISTS (SELECT FROM casq.views_within(ids) AS w WHERE w.view = v.view) OR unsteady LIKE 'CURRENT%' THEN
        RAISE EXCEPTION 'casq: the query of source % may not read view % itself, nor go by the time', source, v.view USING ERRCODE = 'feature_not_supported';
    END IF;
    PERFORM casq.check_trusted(ids);
    PERFORM set_config('casq.changed', '[]', true);
    EXECUTE format('SELECT id FROM %s LIMIT 1', ids);
END $function$;

CREATE OR REPLACE FUNCTION casq.check_job(job jsonb)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.check_kind()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM casq.check_kind(NEW);
    RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_kind(wanted casq.kinds)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    other casq.kinds;
    folder text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('casq.kinds', 0));
    IF wanted.queue = 'default' OR wanted.queue LIKE 'casq\_%' THEN
        RAISE EXCEPTION 'casq: kind %: queue % is taken', quote_literal(wanted.kind), quote_literal(wanted.queue)
            USING ERRCODE = 'reserved_name',
                  HINT = 'River has a queue default, and casq''s own begin with casq_. Name another one: queue => ''...''.';
    END IF;
    IF wanted.missing NOT IN ('failed', 'absent') OR wanted.quiet NOT BETWEEN '0' AND '1 minute'
        OR wanted.probe <> '0' AND wanted.probe NOT BETWEEN '1 second' AND '30 days'
        OR wanted.transfer = 'none' AND (wanted.missing <> 'failed' OR wanted.probe <> '0')
    THEN
        RAISE EXCEPTION 'casq: kind %: missing % with quiet % and probe % cannot be', quote_literal(wanted.kind),
            quote_literal(wanted.missing), quote_literal(wanted.quiet), quote_literal(wanted.probe)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'missing is failed or absent, quiet at most a minute, probe a second to 30 days, or 0 for never;'
                      ' a kind of transfer none has no bytes that could be missing or probed.';
    END IF;
    SELECT * INTO other FROM casq.kinds AS k
    WHERE k.kind <> wanted.kind AND k.queue = wanted.queue AND k.transfer <> wanted.transfer LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'casq: kind % has transfer %, and queue % is that of kind % with transfer %',
            quote_literal(wanted.kind), wanted.transfer, quote_literal(wanted.queue), quote_literal(other.kind), other.transfer
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A worker with the target of one of them would take the jobs of both, and use up the attempts of the other''s: name another queue.';
    END IF;
    -- Two spellings of one folder would be a place that is shared.
    FOREACH folder IN ARRAY ARRAY[wanted.prefix, wanted.source_prefix] LOOP
        IF folder <> '' AND folder ~ '(^|/)[.]{0,2}(/|$)|[[:cntrl:]]' OR lower(split_part(folder, '/', 1)) = '.casq' THEN
            RAISE EXCEPTION 'casq: kind %: prefix % is not a folder that files may live in',
                quote_literal(wanted.kind), quote_literal(folder)
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Give a relative path such as images/large, without . or .. or //; .casq is kept for staging.';
        END IF;
    END LOOP;
    FOR other IN SELECT * FROM casq.kinds AS k
        WHERE k.kind <> wanted.kind AND k.transfer = wanted.transfer
          AND casq.prefixes_overlap(k.prefix, wanted.prefix)
        ORDER BY k.kind
    LOOP
        RAISE NOTICE 'casq: kind % shares a tree with kind %: their prefixes are % and %',
            quote_literal(wanted.kind), quote_literal(other.kind), quote_literal(wanted.prefix), quote_literal(other.prefix)
            USING HINT = 'Of two resources that would share a place, or lie one within the other, the one that comes second fails, and says so.';
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_relation(relation regclass)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    c pg_class;
    untrack text := format('SELECT casq.untrack(%L) gives up tracking it.', relation);
BEGIN
    SELECT * INTO c FROM pg_class WHERE oid = relation;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: there is no such table' USING ERRCODE = 'undefined_table';
    ELSIF c.relispartition THEN
        RAISE EXCEPTION 'casq: % is a partition', relation
            USING ERRCODE = 'wrong_object_type',
                  HINT = format('Track the whole table: %s.', pg_partition_root(relation));
    ELSIF c.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION 'casq: % is not an ordinary or partitioned table', relation
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'Only a table of this database has the triggers that tracking needs: track the table behind it.';
    ELSIF c.relnamespace::regnamespace::text IN ('pg_catalog', 'information_schema', 'pg_toast', 'casq')
        AND relation IS DISTINCT FROM to_regclass('casq.artifacts') -- what builds leave is like what others have
        AND NOT EXISTS (SELECT FROM casq.views AS v WHERE v.image = relation)
    THEN
        RAISE EXCEPTION 'casq: % belongs to the system, it cannot be tracked', relation
            USING ERRCODE = 'wrong_object_type';
    ELSIF c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = relation OR inhrelid = relation) THEN
        RAISE EXCEPTION 'casq: % takes part in table inheritance, whose rows are changed past its triggers', relation
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'Use declarative partitioning, or ALTER TABLE ... NO INHERIT. ' || untrack;
    END IF;
    PERFORM casq.check_trusted(relation);
    FOR c IN SELECT p.* FROM casq.members(relation) AS m JOIN pg_class AS p ON p.oid = m LOOP
        IF c.relkind NOT IN ('r', 'p') THEN
            RAISE EXCEPTION 'casq: partition % is a foreign table, which has no transition tables', c.oid::regclass
                USING ERRCODE = 'wrong_object_type';
        ELSIF c.relpersistence <> 'p' THEN
            RAISE EXCEPTION 'casq: % is temporary or unlogged, a crash would empty it without an event', c.oid::regclass
                USING ERRCODE = 'wrong_object_type', HINT = 'ALTER TABLE ... SET LOGGED. ' || untrack;
        ELSIF NOT pg_has_role(casq.owner(), c.relowner, 'USAGE') THEN
            RAISE EXCEPTION 'casq: the owner of the schema casq, %, has not the rights of the owner of %, %',
                casq.owner()::regrole, c.oid::regclass, c.relowner::regrole
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('ALTER TABLE %s OWNER TO %s;', c.oid::regclass, casq.owner()::regrole);
        ELSIF c.relrowsecurity AND c.relforcerowsecurity
            AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = casq.owner() AND (rolsuper OR rolbypassrls))
        THEN
            RAISE EXCEPTION 'casq: row security is forced on %, rows would be hidden from its triggers', c.oid::regclass
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = format('ALTER TABLE ... NO FORCE ROW LEVEL SECURITY, or ALTER ROLE %s BYPASSRLS.', casq.owner()::regrole);
        ELSIF EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = c.oid) THEN
            RAISE EXCEPTION 'casq: a subscription writes %, and logical replication fires no statement trigger', c.oid::regclass
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Track the table at the publisher. ' || untrack;
        END IF;
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_scopes(kind text, scopes text[])
 RETURNS void
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    t casq.tracked;
    a pg_attribute;
    wanted text;
    canonical text;
BEGIN
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = check_scopes.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: kind % has no tracked table at the source, what is there of it cannot be listed', quote_literal(kind)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Track its table with casq.track(...).';
    END IF;
    IF cardinality(scopes) > 0 AND t.scope_column IS NULL THEN
        RAISE EXCEPTION 'casq: kind % has no scope column, its resources cannot be told apart by scope', quote_literal(kind)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Track the table again with scope_column => ''...'', or select all or none of the kind.';
    END IF;
    FOREACH wanted IN ARRAY coalesce(scopes, '{}') LOOP
        CONTINUE WHEN wanted = '';
        a := casq.tracked_column(t, t.scope_column);
        BEGIN
            EXECUTE format('SELECT ($1::%s)::text', format_type(casq.base_type(a.atttypid), -1)) INTO canonical USING wanted;
        EXCEPTION WHEN data_exception THEN
            canonical := NULL;
        END;
        IF canonical COLLATE "C" IS DISTINCT FROM wanted THEN
            RAISE EXCEPTION 'casq: % is no scope of kind %, whose scopes are of type %', quote_literal(wanted), quote_literal(kind),
                format_type(casq.base_type(a.atttypid), -1)
                USING ERRCODE = 'invalid_parameter_value', HINT = coalesce(format('Write it as %L.', canonical), '');
        END IF;
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_source(relation regclass)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM casq.check_relation(relation);
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = relation) THEN
        RAISE EXCEPTION 'casq: % is partitioned, and what is written to a partition by its own name is not noted', relation
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'The sources of a tracked view are ordinary tables; a partitioned one can be tracked by itself.';
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_trusted(relation regclass)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    u record;
BEGIN
    SELECT * INTO u FROM casq.untrusted(relation);
    IF u.what IS NOT NULL AND u.owner IS NULL THEN
        RAISE EXCEPTION 'casq: % was altered after the snapshot that should read it, which does not show whose it is', u.what
            USING ERRCODE = 'serialization_failure', HINT = 'Try the whole transaction again.';
    ELSIF u.what IS NOT NULL THEN
        RAISE EXCEPTION 'casq: % belongs to %, who has not the rights of casq''s owner, %', u.what, u.owner, casq.owner()::regrole
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = format('What casq''s owner reads can run code of whoever owns it, such as the expression of an index. It reads %s.', relation),
                  HINT = format('Let casq''s owner have what it reads: %s. %s',
                      CASE WHEN u.is_relation THEN format('ALTER TABLE %s OWNER TO %s', u.what, casq.owner()::regrole)
                           ELSE 'drop what uses ' || u.what END,
                      CASE WHEN EXISTS (SELECT FROM casq.tracked AS t WHERE t.relation = check_trusted.relation)
                           THEN format('SELECT casq.untrack(%L) gives up tracking it.', relation)
                           ELSE 'Or let the table''s owner be the one who migrates casq.' END);
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.check_view(v casq.views)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    c pg_class;
    called text;
    a pg_attribute;
    unsteady text;
    simple oid[] := ARRAY['int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype, 'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype];
BEGIN
    SELECT * INTO c FROM pg_class AS x WHERE x.oid = v.view;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: view % of kind % is gone', v.name, v.kind
            USING ERRCODE = 'undefined_table', HINT = format('Make it again, or give it up: SELECT casq.untrack(kind => %L).', v.kind);
    ELSIF c.relkind <> 'v' THEN
        RAISE EXCEPTION 'casq: % is not a view', v.view
            USING ERRCODE = 'wrong_object_type', HINT = 'A table is tracked by casq.track; of a materialized view nobody knows when its rows change.';
    END IF;
    FOREACH called IN ARRAY v.payload_columns || ARRAY[v.id_column, v.key_column, v.scope_column, v.size_column] LOOP
        CONTINUE WHEN called IS NULL;
        SELECT * INTO a FROM pg_attribute AS x WHERE x.attrelid = v.view AND x.attname = called AND x.attnum > 0;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'casq: view % has no column %, which kind % needs', v.view, quote_ident(called), v.kind
                USING ERRCODE = 'undefined_column', HINT = 'CREATE OR REPLACE VIEW can add it.';
        ELSIF called IN (v.id_column, v.key_column, v.scope_column) AND casq.base_type(a.atttypid) <> ALL (simple) THEN
            RAISE EXCEPTION 'casq: column % of view % has type %, whose text is not the same everywhere', quote_ident(called), v.view, format_type(a.atttypid, a.atttypmod)
                USING ERRCODE = 'datatype_mismatch', HINT = 'An id, a key or a scope is an integer, a uuid or text: have the view cast it.';
        END IF;
    END LOOP;
    unsteady := casq.unsteady(v.view);
    IF unsteady IS NOT NULL THEN
        RAISE EXCEPTION 'casq: view % calls %, by which its rows change though no row of its sources does', v.view, unsteady
            USING ERRCODE = 'feature_not_supported', HINT = 'A tracked view goes by the rows of its sources alone.';
    END IF;
    PERFORM casq.check_trusted(v.view);
    IF NOT has_table_privilege(casq.owner(), v.view, 'SELECT') THEN
        RAISE EXCEPTION 'casq: the owner of the schema casq, %, may not read view %', casq.owner()::regrole, v.view
            USING ERRCODE = 'insufficient_privilege', HINT = format('GRANT SELECT ON %s TO %s;', v.view, casq.owner()::regrole);
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.columns_named(by regclass, relation regclass, functions boolean DEFAULT false)
 RETURNS text[]
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH named AS (
        SELECT d.refobjsubid AS number, v.definition, w.oid AS rule
        FROM casq.views_within(columns_named.by) AS v
        JOIN pg_rewrite AS w ON w.ev_class = v.view
        JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = columns_named.relation
    )
    SELECT CASE WHEN NOT EXISTS (SELECT FROM named)
                  OR EXISTS (SELECT FROM named AS n WHERE n.number < 0)
                  OR EXISTS (SELECT FROM casq.views_within(columns_named.by) AS v WHERE v.definition ~ ':varattno 0 ')
                  OR functions AND EXISTS (
                      SELECT FROM casq.views_within(columns_named.by) AS v
                      JOIN pg_rewrite AS w ON w.ev_class = v.view
                      JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_proc'::regclass)
                THEN NULL
                ELSE ARRAY(SELECT DISTINCT a.attname::text FROM named AS n
                           JOIN pg_attribute AS a ON a.attrelid = columns_named.relation AND a.attnum = n.number AND n.number > 0 ORDER BY 1)
           END
$function$;

CREATE OR REPLACE FUNCTION casq.compare_view(kind text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    UPDATE casq.views AS v SET compare_asked_at = clock_timestamp() WHERE v.kind = compare_view.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: kind % is that of no tracked view', coalesce(quote_literal(compare_view.kind), 'NULL') USING ERRCODE = 'undefined_object',
            HINT = format('Tracked views: %s.', coalesce((SELECT string_agg(v.kind, ', ' ORDER BY v.kind) FROM casq.views AS v), 'none'));
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.compare_views(anew boolean DEFAULT false)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    UPDATE casq.views SET compare_asked_at = clock_timestamp();
    IF anew THEN
        DELETE FROM casq.source_changes;
        DELETE FROM casq.cursors WHERE name = 'views';
        UPDATE casq.views SET compare_from = NULL;
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.count_group(state text, failure_reason text, queued_at timestamp with time zone, claim_process uuid)
 RETURNS TABLE(reason text, since timestamp with time zone, process uuid)
 LANGUAGE sql
 STABLE
AS $function$
    SELECT CASE WHEN state = 'failed' THEN failure_reason END,
           CASE WHEN state IN ('pending', 'removing') THEN date_bin('10 s', queued_at, 'epoch') END,
           CASE WHEN state NOT IN ('synced', 'removed', 'absent') THEN claim_process END
$function$;

CREATE OR REPLACE FUNCTION casq.count_rows(kind text)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
DECLARE
    t casq.tracked := casq.tracked_kind(count_rows.kind);
    n bigint;
BEGIN
    PERFORM casq.check_trusted(t.relation);
    EXECUTE format('SELECT count(*) FROM %s', t.relation) INTO n;
    RETURN n;
END $function$;

CREATE OR REPLACE FUNCTION casq.count_view(v casq.views)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
DECLARE
    twice text;
    n bigint;
    keys bigint;
BEGIN
    EXECUTE format('SELECT v.%1$I::text FROM %2$s AS v GROUP BY v.%1$I HAVING count(*) > 1 LIMIT 1', v.id_column, v.view) INTO twice;
    IF twice IS NOT NULL THEN
        RAISE EXCEPTION 'casq: view % has % % more than once', v.view, quote_ident(v.id_column), twice
            USING ERRCODE = 'unique_violation', HINT = 'An id names one row of the view: is a join one too many?';
    END IF;
    EXECUTE format('SELECT count(*), count(DISTINCT v.%I) FROM %s AS v', v.key_column, v.view) INTO n, keys;
    IF keys < n THEN
        RAISE WARNING 'casq: % rows of view % have a key that another one has, too, or none: they are not followed, see casq.view_ids', n - keys, v.view;
    END IF;
    RETURN n;
END $function$;

CREATE OR REPLACE FUNCTION casq.create_runner(description text, tags text[] DEFAULT '{}'::text[], run_untagged boolean DEFAULT NULL::boolean, projects bigint[] DEFAULT NULL::bigint[], max_running integer DEFAULT NULL::integer, paused boolean DEFAULT false, max_timeout integer DEFAULT NULL::integer, OUT id bigint, OUT token text)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    token := casq.new_runner_token();
    INSERT INTO casq.runners AS r (token_hash, description, tags, run_untagged, projects, max_running, paused, max_timeout)
    VALUES (sha256(convert_to(token, 'UTF8')), create_runner.description, casq.sort_tags(create_runner.tags),
            coalesce(create_runner.run_untagged, cardinality(create_runner.tags) = 0), create_runner.projects,
            create_runner.max_running, create_runner.paused, create_runner.max_timeout)
    RETURNING r.id INTO create_runner.id;
END $function$;

CREATE OR REPLACE FUNCTION casq.define_kind(kind text, transfer text, queue text DEFAULT NULL::text, prefix text DEFAULT NULL::text, source_prefix text DEFAULT NULL::text, missing text DEFAULT NULL::text, quiet interval DEFAULT NULL::interval, probe interval DEFAULT NULL::interval)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "IntervalStyle" TO 'postgres'
AS $function$
DECLARE
    wanted casq.kinds;
    present casq.kinds;
BEGIN
    LOCK TABLE casq.kinds IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO present FROM casq.kinds AS k WHERE k.kind = define_kind.kind;
    wanted := ROW(define_kind.kind, define_kind.transfer, coalesce(define_kind.queue, define_kind.kind),
        trim('/' FROM coalesce(define_kind.prefix, present.prefix, define_kind.kind)),
        trim('/' FROM coalesce(define_kind.source_prefix, present.source_prefix, '')),
        coalesce(define_kind.missing, present.missing, 'failed'),
        coalesce(define_kind.quiet, present.quiet, '0'),
        coalesce(define_kind.probe, present.probe, '0'));
    IF wanted.transfer = 'none' THEN
        wanted.prefix := NULL;
        wanted.source_prefix := NULL;
    END IF;
    IF present.kind IS NULL THEN
        INSERT INTO casq.kinds SELECT wanted.*;
    ELSIF present IS DISTINCT FROM wanted THEN
        RAISE EXCEPTION 'casq: kind % is defined otherwise: %', quote_literal(wanted.kind), (
                SELECT string_agg(format('its %s is %L, not %L', p.key, p.value, w.value), ', ' ORDER BY p.key)
                FROM jsonb_each_text(to_jsonb(present)) AS p
                JOIN jsonb_each_text(to_jsonb(wanted)) AS w USING (key)
                WHERE p.value IS DISTINCT FROM w.value)
            USING ERRCODE = 'duplicate_object',
                  HINT = format('What was copied stays where it is, so a kind stays as it was defined: repeat it so, or use a kind of another name.'
                      ' Its prefix is changed by enqueue kind move %s, missing, quiet and probe by enqueue kind set %1$s, at each site,'
                      ' and it is ended by enqueue kind drop %1$s.', wanted.kind);
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.do_view(kind text, compare_after interval, most integer DEFAULT 2000)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
 SET jit TO 'off'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO'
 SET "IntervalStyle" TO 'postgres'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET lc_monetary TO 'C'
AS $function$
DECLARE
    v casq.views;
    ids text[];
    renewed boolean;
BEGIN
    SELECT * INTO v FROM casq.views AS x WHERE x.kind = do_view.kind FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN false;
    END IF;
    renewed := v.renewed;
    PERFORM set_config('casq.bulk', '', true);
    BEGIN
        v := casq.open_view(v);
        IF v.renewed AND NOT renewed THEN
            -- Until this is committed the application notes by the functions of before.
            RETURN true;
        END IF;
        ids := casq.due_ids(v.kind, false, most);
        IF ids = '{}' THEN
            v := casq.begin_comparison(v, compare_after);
            IF v.compare_began_at IS NOT NULL THEN
                ids := casq.page_of_ids(v, most);
                PERFORM set_config('casq.bulk', CASE WHEN v.fills THEN 'on' ELSE '' END, true);
                UPDATE casq.views AS x SET compared_to = ids[cardinality(ids)] WHERE x.kind = v.kind;
            ELSE
                ids := casq.due_ids(v.kind, true, most);
                IF ids = '{}' THEN
                    RETURN false;
                END IF;
            END IF;
        END IF;
        IF ids = '{}' THEN
            UPDATE casq.views AS x SET compare_began_at = NULL, compared_to = NULL, compared_at = clock_timestamp(), filled_at = coalesce(x.filled_at, clock_timestamp()),
                fills = x.fills AND x.compare_asked_at IS NOT NULL WHERE x.kind = v.kind; -- it was replaced meanwhile
        ELSE
            PERFORM casq.refresh_ids(v, ids);
        END IF;
        UPDATE casq.views AS x SET error = NULL, failed_at = NULL WHERE x.kind = v.kind AND x.error IS NOT NULL;
        RETURN true;
    EXCEPTION WHEN OTHERS THEN
        IF casq.passes(SQLSTATE) THEN
            RAISE;
        END IF;
        PERFORM casq.fail_view(v.kind, SQLERRM);
        RETURN false;
    END;
END $function$;

CREATE OR REPLACE FUNCTION casq.draw_event_id()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    NEW.id := nextval('casq.events_id_seq');
    RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION casq.drop_ids(kind text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    p casq.view_sources;
    relation regclass;
BEGIN
    FOR p IN DELETE FROM casq.view_sources AS x WHERE x.kind = drop_ids.kind RETURNING * LOOP
        FOREACH relation IN ARRAY ARRAY[p.ids, p.changed] LOOP
            IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation) THEN
                EXECUTE format('DROP VIEW %s', relation);
            END IF;
        END LOOP;
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.drop_kind(kind text, keep boolean DEFAULT false)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    forgotten bigint := 0;
    its_queue text;
BEGIN
    PERFORM casq.check_drop(drop_kind.kind);
    IF keep THEN
        PERFORM FROM casq.registry AS r WHERE r.kind = drop_kind.kind ORDER BY r.resource_id FOR UPDATE;
        DELETE FROM casq.registry AS r WHERE r.kind = drop_kind.kind;
        GET DIAGNOSTICS forgotten = ROW_COUNT;
    END IF;
    -- No worker will serve their queue.
    DELETE FROM river.river_job AS j
    WHERE j.finalized_at IS NULL AND j.state <> 'running' AND j.args ->> 'kind' = drop_kind.kind
      AND j.kind IN ('casq_sync', 'casq_remove', 'casq_verify');
    DELETE FROM casq.kinds AS k WHERE k.kind = drop_kind.kind RETURNING k.queue INTO its_queue;
    DELETE FROM river.river_queue AS q WHERE q.name = its_queue AND NOT EXISTS (SELECT FROM casq.kinds AS k WHERE k.queue = its_queue);
    -- In the order of a flush: shards before counters. What it still brings of the kind
    -- later it leaves out.
    PERFORM FROM casq.counter_shards AS s ORDER BY s.shard FOR UPDATE;
    DELETE FROM casq.counters AS c WHERE c.kind = drop_kind.kind;
    DELETE FROM casq.scans AS s WHERE s.kind = drop_kind.kind;
    RETURN forgotten;
END $function$;

CREATE OR REPLACE FUNCTION casq.drop_triggers(kind text, relation regclass)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT g.tgname FROM pg_trigger AS g
        WHERE g.tgrelid = relation AND g.tgname = ANY (casq.trigger_names(kind))
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', name, relation);
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.due_ids(kind text, failed boolean, most integer)
 RETURNS text[]
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT ARRAY(SELECT p.id FROM casq.view_ids AS p
                 WHERE p.kind = due_ids.kind AND p.due_at <= clock_timestamp() AND (p.reason IS NOT NULL) = failed ORDER BY p.due_at LIMIT most)
$function$;

CREATE OR REPLACE FUNCTION casq.due_views(compare_after interval)
 RETURNS SETOF text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT v.kind FROM casq.views AS v
    WHERE (v.error IS NULL OR v.tried_at < clock_timestamp() - interval '5 s')
      AND (v.compare_asked_at IS NOT NULL OR v.compare_began_at IS NOT NULL OR v.compared_at < clock_timestamp() - compare_after
           OR EXISTS (SELECT FROM casq.view_ids AS p WHERE p.kind = v.kind AND p.due_at <= clock_timestamp()))
    ORDER BY v.kind
$function$;

CREATE OR REPLACE FUNCTION casq.entangled_ids(v casq.views, ids text[], rows text[])
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    more text[];
BEGIN
    EXECUTE format($sql$
        SELECT array_agg(DISTINCT o.id) FROM (
            SELECT casq_h.%2$I::text AS id FROM unnest($2::%1$s[]) AS casq_w JOIN %1$s AS casq_h ON casq_h.%3$I = casq_w.%3$I
            UNION ALL
            SELECT p.id FROM %1$s AS casq_h
            JOIN casq.view_ids AS p ON p.kind = $3 AND p.key = casq_h.%3$I::text
            WHERE casq_h.%2$I = ANY ($1::%4$s[])
              AND NOT EXISTS (SELECT FROM unnest($2::%1$s[]) AS casq_w WHERE casq_w.%2$I = casq_h.%2$I AND casq_w.%3$I = casq_h.%3$I)
        ) AS o WHERE o.id <> ALL ($1)$sql$, v.image, v.id_column, v.key_column, casq.image_type(v, v.id_column))
    INTO more USING ids, rows, v.kind;
    RETURN more;
END $function$;

CREATE OR REPLACE FUNCTION casq.equal_is_same(scope_column pg_attribute, scope_id text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    type regtype := casq.base_type(scope_column.atttypid);
    same boolean;
BEGIN
    IF type NOT IN ('smallint', 'integer', 'bigint', 'uuid', 'text', 'character varying')
        OR EXISTS (SELECT FROM pg_collation AS c WHERE c.oid = scope_column.attcollation AND NOT c.collisdeterministic) THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT $1::%s::text COLLATE "C" = $1', type) INTO same USING scope_id;
    RETURN same;
END $function$;

CREATE OR REPLACE FUNCTION casq.evaluate_view(v casq.views, ids text[])
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    fields text;
    rows text[];
BEGIN
    SELECT string_agg(format('v.%I::%s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) INTO fields
    FROM pg_attribute AS a WHERE a.attrelid = v.image AND a.attnum > 0 AND NOT a.attisdropped;
    EXECUTE format('SELECT array_agg(ROW(%s)::%s::text) FROM %s AS v WHERE v.%I = ANY ($1::%s[])',
        fields, v.image, v.view, v.id_column, casq.image_type(v, v.id_column)) INTO rows USING ids;
    RETURN coalesce(rows, '{}');
END $function$;

CREATE OR REPLACE FUNCTION casq.events_between(older pg_snapshot, newer pg_snapshot)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
    SELECT EXISTS (
        SELECT FROM pg_snapshot_xip(older) AS late (xid)
        CROSS JOIN LATERAL (
            (SELECT FROM casq.events AS e WHERE e.xid = late.xid LIMIT 1)
            UNION ALL
            (SELECT FROM casq.source_changes AS e WHERE e.xid = late.xid LIMIT 1)
        ) AS event
        WHERE pg_visible_in_snapshot(late.xid, newer)
    ) OR EXISTS (
        WITH open AS (
            SELECT xid FROM pg_snapshot_xip(newer) AS o (xid)
            WHERE xid >= pg_snapshot_xmax(older)
        ), edge AS (
            SELECT pg_snapshot_xmax(older) AS low
            UNION ALL
            SELECT (xid::text::bigint + 1)::text::xid8 FROM open
        )
        SELECT FROM edge
        CROSS JOIN LATERAL (
            SELECT coalesce((SELECT o.xid FROM open AS o WHERE o.xid >= edge.low
                             ORDER BY o.xid LIMIT 1),
                            pg_snapshot_xmax(newer)) AS high
        ) AS span
        CROSS JOIN LATERAL (
            (SELECT FROM casq.events AS e WHERE e.xid >= edge.low AND e.xid < span.high LIMIT 1)
            UNION ALL
            (SELECT FROM casq.source_changes AS e WHERE e.xid >= edge.low AND e.xid < span.high LIMIT 1)
        ) AS event
    )
$function$;

CREATE OR REPLACE FUNCTION casq.events_beyond(tick bigint, nonce uuid)
 RETURNS TABLE(events bigint, resources bigint, bytes numeric, more boolean, oldest timestamp with time zone)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
    SELECT b.*
    FROM casq.ticks AS mine
    CROSS JOIN LATERAL (
        SELECT count(*), count(DISTINCT (e.kind, e.resource_id)), coalesce(sum(greatest(e.size_delta, 0)), 0), count(*) = 10000, min(e.occurred_at)
        FROM (
            SELECT e.* FROM (
                SELECT l.kind, l.resource_id, l.size_delta, l.occurred_at
                FROM pg_snapshot_xip(mine.snapshot) AS late (xid)
                CROSS JOIN LATERAL (SELECT * FROM casq.events AS e WHERE e.xid = late.xid OFFSET 0) AS l
                UNION ALL
                SELECT n.kind, n.resource_id, n.size_delta, n.occurred_at FROM casq.events AS n WHERE n.xid >= pg_snapshot_xmax(mine.snapshot)
            ) AS e
            LIMIT 10000
        ) AS e
    ) AS b
    WHERE mine.id = events_beyond.tick AND mine.nonce = events_beyond.nonce
$function$;

CREATE OR REPLACE FUNCTION casq.fail_id(kind text, id text, key text, reason text)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO casq.view_ids AS p (kind, id, key, reason, tries, failed_at, due_at)
    VALUES (fail_id.kind, fail_id.id, fail_id.key, fail_id.reason, 1, clock_timestamp(), clock_timestamp() + interval '10 s')
    ON CONFLICT ON CONSTRAINT view_ids_pkey DO UPDATE
    SET key = excluded.key, reason = excluded.reason, tries = p.tries + 1, failed_at = coalesce(p.failed_at, excluded.failed_at),
        due_at = clock_timestamp() + interval '10 s' * 2 ^ least(p.tries, 6)
$function$;

CREATE OR REPLACE FUNCTION casq.fail_view(kind text, reason text)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    UPDATE casq.views AS v SET error = fail_view.reason, failed_at = coalesce(v.failed_at, clock_timestamp()), tried_at = clock_timestamp(),
        compare_asked_at = clock_timestamp(), compare_began_at = NULL, compared_to = NULL
    WHERE v.kind = fail_view.kind
$function$;

CREATE OR REPLACE FUNCTION casq.find_ids(v casq.views, sources integer[], notes jsonb[])
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    p record;
    found_ids text[];
    ids text[] := '{}';
BEGIN
    FOR p IN
        SELECT w.ids, bool_or(n.rows IS NULL) AS any_row, jsonb_agg(r.value) FILTER (WHERE r.value IS NOT NULL) AS changed
        FROM casq.view_sources AS w
        JOIN unnest(find_ids.sources, find_ids.notes) AS n (source, rows) ON n.source = w.source
        LEFT JOIN LATERAL jsonb_array_elements(n.rows) AS r ON true
        WHERE w.kind = v.kind GROUP BY w.ids ORDER BY w.ids
    LOOP
        IF p.any_row THEN
            RETURN NULL;
        END IF;
        PERFORM set_config('casq.changed', p.changed::text, true);
        BEGIN
            EXECUTE format('SELECT array_agg(DISTINCT i.id) FROM (SELECT f.id::text FROM %s AS f WHERE f.id IS NOT NULL LIMIT 100001) AS i', p.ids) INTO found_ids;
        EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
            RETURN NULL;
        END;
        ids := ids || found_ids;
        IF cardinality(found_ids) > 100000 OR cardinality(ids) > 100000 THEN
            RETURN NULL;
        END IF;
    END LOOP;
    RETURN ARRAY(SELECT DISTINCT i FROM unnest(ids) AS i);
END $function$;

CREATE OR REPLACE FUNCTION casq.follows_views()
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN false;
    ELSIF EXISTS (SELECT FROM casq.views) THEN
        RETURN true;
    ELSIF EXISTS (SELECT FROM casq.cursors AS c WHERE c.name = 'views') THEN
        DELETE FROM casq.cursors AS c WHERE c.name = 'views';
    END IF;
    RETURN false;
END $function$;

CREATE OR REPLACE FUNCTION casq.forget_counts()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM casq.registry_counts;
    DELETE FROM casq.registry_changes;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.forget_follower(name text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM casq.followers AS f WHERE f.name = forget_follower.name;
    RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION casq.forget_resources(kind text, most integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    keys text[];
BEGIN
    PERFORM casq.check_drop(forget_resources.kind);
    SELECT array_agg(page.resource_id) INTO keys FROM (
        SELECT r.resource_id FROM casq.registry AS r WHERE r.kind = forget_resources.kind
        ORDER BY r.resource_id LIMIT most FOR UPDATE) AS page;
    DELETE FROM casq.registry AS r WHERE r.kind = forget_resources.kind AND r.resource_id = ANY (keys);
    DELETE FROM river.river_job AS j
    WHERE j.finalized_at IS NULL AND (j.args ->> 'resource_id') COLLATE "C" = ANY (keys) AND j.args ->> 'kind' = forget_resources.kind
      AND j.state <> 'running' AND j.kind IN ('casq_sync', 'casq_remove', 'casq_verify');
    RETURN coalesce(cardinality(keys), 0);
END $function$;

CREATE OR REPLACE FUNCTION casq.full_name(relation regclass)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = full_name.relation
$function$;

CREATE OR REPLACE FUNCTION casq.grant_again()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    g record;
BEGIN
    FOR g IN SELECT t.role, p.privilege FROM casq.grants AS t JOIN casq.privileges() AS p USING (what)
        WHERE EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = t.role)
    LOOP
        EXECUTE format('GRANT %s TO %I', g.privilege, g.role);
    END LOOP;
    FOR g IN SELECT p.oid::regprocedure AS function, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
        FROM pg_proc AS p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE p.pronamespace = 'casq'::regnamespace AND p.prosecdef AND a.grantee <> p.proowner
          AND (a.grantee = 0 OR p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', g.function, g.role);
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.grant_to(role regrole, what text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF grant_to.what IS NULL OR grant_to.what NOT IN (SELECT p.what FROM casq.privileges() AS p) THEN
        RAISE EXCEPTION 'casq: there is no % to grant', coalesce(quote_literal(grant_to.what), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is worker, follower, application, operator or reader.';
    END IF;
    INSERT INTO casq.grants AS g (role, what)
    SELECT r.rolname, grant_to.what FROM pg_roles AS r WHERE r.oid = grant_to.role
    ON CONFLICT ON CONSTRAINT grants_pkey DO NOTHING;
    PERFORM casq.grant_again();
END $function$;

CREATE OR REPLACE FUNCTION casq.group_column(g casq.scope_groups, called text)
 RETURNS pg_attribute
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    a pg_attribute;
BEGIN
    SELECT * INTO a FROM pg_attribute AS c
    WHERE c.attrelid = to_regclass(g.parents) AND c.attname = called AND c.attnum > 0 AND NOT c.attisdropped;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: % has no column %, which scopes of kind % are grouped by', g.parents, quote_ident(called), g.kind
            USING ERRCODE = 'undefined_column',
                  HINT = format('SELECT casq.group_scopes(%L, ...) with columns that exist, or SELECT casq.ungroup_scopes(%1$L).', g.kind);
    ELSIF casq.text_form(a.atttypid) IS NULL THEN
        RAISE EXCEPTION 'casq: column % of % has type %, whose text is not the same everywhere',
            quote_ident(called), g.parents, format_type(a.atttypid, a.atttypmod)
            USING ERRCODE = 'datatype_mismatch',
                  HINT = 'A scope or parent is an integer, a uuid or text; a view may cast it.';
    ELSIF NOT has_column_privilege(casq.owner(), a.attrelid, a.attnum, 'SELECT') THEN
        RAISE EXCEPTION 'casq: the owner of the schema casq, %, may not read %', casq.owner()::regrole, g.parents
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('GRANT SELECT ON %s TO %s;', g.parents, casq.owner()::regrole);
    END IF;
    RETURN a;
END $function$;

CREATE OR REPLACE FUNCTION casq.group_scopes(kind text, parents regclass, scope_column text, parent_column text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    t casq.tracked := casq.tracked_kind(group_scopes.kind);
    g casq.scope_groups;
    counted pg_attribute;
    grouped pg_attribute;
BEGIN
    IF t.scope_column IS NULL THEN
        RAISE EXCEPTION 'casq: kind % has no scope column, there is nothing to total', quote_literal(t.kind)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Track the table again with scope_column => ''...''.';
    ELSIF num_nulls(group_scopes.parents, group_scopes.scope_column, group_scopes.parent_column) > 0 THEN
        RAISE EXCEPTION 'casq: group_scopes needs parents, scope_column and parent_column'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A table with a row for each scope and its parent, and the names of these two columns.';
    END IF;
    INSERT INTO casq.scope_groups AS k (kind, parents, scope_column, parent_column)
    VALUES (t.kind,
            coalesce((SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c
                      JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = group_scopes.parents), group_scopes.parents::text),
            group_scopes.scope_column, group_scopes.parent_column)
    ON CONFLICT ON CONSTRAINT scope_groups_pkey DO UPDATE SET parents = excluded.parents,
        scope_column = excluded.scope_column, parent_column = excluded.parent_column, grouped_at = excluded.grouped_at;
    g := casq.scope_group(t.kind);
    PERFORM casq.group_column(g, g.parent_column);
    grouped := casq.group_column(g, g.scope_column);
    counted := casq.tracked_column(t, t.scope_column);
    IF 'text' NOT IN (casq.text_form(grouped.atttypid), casq.text_form(counted.atttypid))
        AND casq.text_form(grouped.atttypid) <> casq.text_form(counted.atttypid)
    THEN
        RAISE EXCEPTION 'casq: column % of % has type %, and scopes of kind % are of type %', quote_ident(g.scope_column), g.parents,
            format_type(grouped.atttypid, grouped.atttypmod), g.kind, format_type(counted.atttypid, counted.atttypmod)
            USING ERRCODE = 'datatype_mismatch', HINT = 'Name the column that has the scopes.';
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.group_sql(kind text, one boolean)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    g casq.scope_groups := casq.scope_group(group_sql.kind);
    scope pg_attribute := casq.group_column(g, g.scope_column);
    parent pg_attribute := casq.group_column(g, g.parent_column);
    told text := 'r.%I';
    by_bytes text := 'r.%I::text COLLATE "C"';
BEGIN
    RETURN format('SELECT %s %s AS parent, %s AS scope FROM %s AS r WHERE r.%I IS NOT NULL AND r.%I IS NOT NULL%s',
        -- To find doubles takes as long as the rest; a unique scope has none.
        CASE WHEN casq.key_index(scope.attrelid, scope.attnum) IS NULL
                OR EXISTS (SELECT FROM pg_inherits WHERE inhparent = scope.attrelid) THEN 'DISTINCT' ELSE '' END,
        format(CASE WHEN parent.attcollation = 0 THEN told ELSE by_bytes END, parent.attname),
        format(CASE WHEN scope.attcollation = 0 THEN told ELSE by_bytes END, scope.attname),
        g.parents, parent.attname, scope.attname,
        -- By the column itself, for its index.
        CASE WHEN one THEN format(' AND r.%I = $2::%s', parent.attname, format_type(casq.base_type(parent.atttypid), -1)) ELSE '' END
        || CASE WHEN one AND parent.attcollation <> 0 THEN format(' AND %s = $2', format(by_bytes, parent.attname)) ELSE '' END);
END $function$;

CREATE OR REPLACE FUNCTION casq.guard_kind()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    -- Of what is still to be copied, nothing is anywhere yet.
    moves boolean := TG_OP = 'UPDATE' AND (NEW.kind, NEW.transfer, NEW.queue) = (OLD.kind, OLD.transfer, OLD.queue);
    r casq.registry;
BEGIN
    -- Nothing goes by an option in what was copied already.
    IF TG_OP = 'UPDATE' AND (NEW.kind, NEW.transfer, NEW.queue, NEW.prefix, NEW.source_prefix)
        IS NOT DISTINCT FROM (OLD.kind, OLD.transfer, OLD.queue, OLD.prefix, OLD.source_prefix) THEN
        RETURN NEW;
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: a kind is ended or changed under READ COMMITTED, an old snapshot misses its rows'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    FOR r IN SELECT * FROM casq.registry AS t WHERE t.kind = OLD.kind ORDER BY t.resource_id FOR UPDATE LOOP
        CONTINUE WHEN r.claim IS NULL AND r.deleted_at IS NOT NULL AND r.synced_version = r.version;
        CONTINUE WHEN moves AND r.claim IS NULL AND r.synced_version IS NULL;
        RAISE EXCEPTION 'casq: kind % has resources on this site, such as %', quote_literal(OLD.kind), quote_literal(r.resource_id)
            USING ERRCODE = 'dependent_objects_still_exist',
                  HINT = CASE WHEN moves THEN format('enqueue kind move %s --prefix ... has them copied to the new place.', OLD.kind)
                      ELSE format('enqueue kind drop %s --remove removes them first; with --keep, or SELECT casq.drop_kind(%L, keep => true),'
                          ' what is in place stays there and is forgotten.', OLD.kind, OLD.kind) END;
    END LOOP;
    IF TG_OP = 'UPDATE' THEN
        RETURN NEW;
    END IF;
    -- Once rows are forgotten, nothing tells a deleted resource from a new one: a page of
    -- the source that is older than this must not be used if the kind is defined again.
    INSERT INTO casq.registry_floors AS f (kind, timeline, tick)
    SELECT OLD.kind, c.timeline, greatest(c.tick, c.to_tick) FROM casq.cursors AS c WHERE c.name = 'registry'
    ON CONFLICT ON CONSTRAINT registry_floors_pkey DO UPDATE SET timeline = excluded.timeline, tick = excluded.tick
    WHERE (f.timeline, f.tick) < (excluded.timeline, excluded.tick);
    DELETE FROM casq.registry AS t WHERE t.kind = OLD.kind;
    DELETE FROM casq.selections AS s WHERE s.kind = OLD.kind;
    DELETE FROM casq.event_failures AS e WHERE e.kind = OLD.kind;
    RETURN OLD;
END $function$;

CREATE OR REPLACE FUNCTION casq.has_scope(kind text, scope_id text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
DECLARE
    t casq.tracked := casq.tracked_kind(has_scope.kind);
    scope_column pg_attribute := casq.tracked_column(t, t.scope_column);
    found_row boolean;
BEGIN
    PERFORM casq.check_trusted(t.relation);
    IF scope_id = '' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %1$s AS r WHERE r.%2$I IS NULL)', t.relation, scope_column.attname) INTO found_row;
        IF found_row THEN
            RETURN true;
        END IF;
    END IF;
    -- Only as the column itself writes it: 07 is no scope where 7 is one.
    EXECUTE format('SELECT EXISTS (SELECT FROM %1$s AS r WHERE r.%2$I = $1::%3$s AND r.%2$I::text COLLATE "C" = $1)', t.relation, scope_column.attname,
        format_type(casq.base_type(scope_column.atttypid), -1))
    INTO found_row USING scope_id;
    RETURN found_row;
EXCEPTION WHEN data_exception THEN
    RETURN false;
END $function$;

CREATE OR REPLACE FUNCTION casq.has_scope_index(kind text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    t casq.tracked := casq.tracked_kind(has_scope_index.kind);
    scope_column pg_attribute := casq.tracked_column(t, t.scope_column);
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        JOIN pg_am AS a ON a.oid = c.relam
        WHERE i.indrelid = t.relation AND i.indkey[0] = scope_column.attnum
          AND i.indcollation[0] = scope_column.attcollation
          AND (SELECT o.opcdefault FROM pg_opclass AS o WHERE o.oid = i.indclass[0])
          AND a.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL);
END $function$;

CREATE OR REPLACE FUNCTION casq.health()
 RETURNS TABLE(ok boolean, severity text, what text, since timestamp with time zone, command text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH problem AS MATERIALIZED (
        SELECT * FROM casq.problems_of_workers() UNION ALL SELECT * FROM casq.problems_of_log()
        UNION ALL SELECT * FROM casq.problems_of_followers() UNION ALL SELECT * FROM casq.problems_of_queues()
        UNION ALL SELECT * FROM casq.problems_of_registry() UNION ALL SELECT * FROM casq.problems_of_counters()
        UNION ALL SELECT * FROM casq.problems_of_views() UNION ALL SELECT * FROM casq.problems_of_builds() UNION ALL SELECT * FROM casq.problems_of_server()
    )
    (SELECT p.severity = 'notice', p.severity, p.what, date_trunc('second', p.since), p.command
     FROM problem AS p
     ORDER BY array_position('{critical,warning,notice}', p.severity), p.since, p.what)
    UNION ALL
    SELECT true, 'ok', 'ok', NULL, 'enqueue status' WHERE NOT EXISTS (SELECT FROM problem)
$function$;

CREATE OR REPLACE FUNCTION casq.health_report(OUT sentence text, OUT problems jsonb)
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "DateStyle" TO 'ISO'
AS $function$
    WITH h AS MATERIALIZED (SELECT * FROM casq.health() WITH ORDINALITY)
    SELECT coalesce((
        SELECT format('%s: %s%s (%s)%s', f.severity, f.what, ', since ' || f.since, f.command,
            CASE WHEN f.more > 0 THEN format('; and %s more', f.more) END)
        FROM (SELECT h.*, count(*) OVER () - 1 AS more FROM h WHERE NOT h.ok ORDER BY h.ordinality LIMIT 1) AS f
    ), 'ok'),
    (SELECT coalesce(jsonb_agg(jsonb_build_object('severity', h.severity, 'what', h.what, 'since', h.since, 'command', h.command) ORDER BY h.ordinality), '[]')
     FROM h WHERE h.severity <> 'ok')
$function$;

CREATE OR REPLACE FUNCTION casq.health_sentence()
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT r.sentence FROM casq.health_report() AS r
$function$;

CREATE OR REPLACE FUNCTION casq.image_type(v casq.views, called text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN called IN (v.id_column, v.key_column, v.scope_column) AND b.type IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN 'text'
                WHEN called = v.size_column THEN 'bigint' ELSE format_type(b.type, -1) END
    FROM pg_attribute AS a CROSS JOIN LATERAL (SELECT casq.base_type(a.atttypid)) AS b (type)
    WHERE a.attrelid = v.view AND a.attname = called AND a.attnum > 0
$function$;

CREATE OR REPLACE FUNCTION casq.install_event_trigger()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET client_min_messages TO 'warning'
AS $function$
BEGIN
    DROP EVENT TRIGGER IF EXISTS casq_ddl;
    DROP EVENT TRIGGER IF EXISTS casq_drop;
    DROP EVENT TRIGGER IF EXISTS casq_rewrite;
    CREATE EVENT TRIGGER casq_ddl ON ddl_command_end
        WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'ALTER SCHEMA',
                     'ALTER TYPE', 'CREATE SUBSCRIPTION', 'ALTER SUBSCRIPTION')
        EXECUTE FUNCTION casq.on_ddl();
    CREATE EVENT TRIGGER casq_drop ON sql_drop EXECUTE FUNCTION casq.on_drop();
    CREATE EVENT TRIGGER casq_rewrite ON table_rewrite EXECUTE FUNCTION casq.on_rewrite();
    ALTER EVENT TRIGGER casq_ddl ENABLE ALWAYS;
    ALTER EVENT TRIGGER casq_drop ENABLE ALWAYS;
    ALTER EVENT TRIGGER casq_rewrite ENABLE ALWAYS;
    PERFORM casq.align(t.kind) FROM casq.tracked AS t ORDER BY t.kind;
END $function$;

CREATE OR REPLACE FUNCTION casq.is_filled(kind text)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT NOT EXISTS (SELECT FROM casq.views AS v WHERE v.kind = is_filled.kind AND v.filled_at IS NULL)
$function$;

CREATE OR REPLACE FUNCTION casq.is_superseded(xmax xid)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT xmax <> '0' AND NOT pg_visible_in_snapshot(f.xid, s.now) AND pg_xact_status(f.xid) <> 'aborted'
    FROM pg_current_snapshot() AS s (now)
    CROSS JOIN LATERAL (
        -- With its epoch, as far from the snapshot's end as the two ages are apart.
        SELECT (pg_snapshot_xmax(s.now)::text::bigint + age(pg_snapshot_xmax(s.now)::xid) - age(xmax))::text::xid8
    ) AS f (xid)
$function$;

CREATE OR REPLACE FUNCTION casq.is_trusted(role oid)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT pg_has_role(is_trusted.role, casq.owner(), 'USAGE')
$function$;

CREATE OR REPLACE FUNCTION casq.judge_rows(v casq.views, rows text[], OUT good text[], OUT bad jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    EXECUTE format($sql$
        SELECT coalesce(array_agg(j.row) FILTER (WHERE j.stays), '{}'),
               coalesce(jsonb_agg(jsonb_build_object('id', j.id, 'key', CASE WHEN j.fits THEN j.key END, 'reason', CASE
                   WHEN NOT j.fits THEN format('its key has %%s bytes, and 1 to 1024 is what a key may have', coalesce(octet_length(j.key)::text, 'no'))
                   WHEN j.same > 1 THEN 'the view has more than one row with this id'
                   ELSE format('its key is %%L, which another row of the view has, too', j.key) END))
                   FILTER (WHERE j.nth = 1 AND (NOT j.stays OR j.same > 1)), '[]')
        FROM (
            SELECT k.*, k.fits AND k.nth = 1 AND row_number() OVER (PARTITION BY k.fits AND k.nth = 1, k.key ORDER BY k.has DESC, k.typed) = 1 AS stays
            FROM (
                SELECT ROW(casq_w.*)::%1$s::text AS row, casq_w.%2$I AS typed, casq_w.%2$I::text AS id, casq_w.%3$I::text COLLATE "C" AS key,
                       coalesce(octet_length(casq_w.%3$I::text) BETWEEN 1 AND 1024, false) AS fits,
                       row_number() OVER same AS nth, count(*) OVER (PARTITION BY casq_w.%2$I) AS same,
                       coalesce(casq_h.%3$I = casq_w.%3$I, false) AS has
                FROM unnest($1::%1$s[]) AS casq_w LEFT JOIN %1$s AS casq_h ON casq_h.%2$I = casq_w.%2$I
                WINDOW same AS (PARTITION BY casq_w.%2$I ORDER BY casq_w.%3$I)
            ) AS k
        ) AS j$sql$, v.image, v.id_column, v.key_column)
    INTO good, bad USING rows;
END $function$;

CREATE OR REPLACE FUNCTION casq.keep_counts()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO casq.registry_changes (kind, state, deleted, reason, since, process, count, bytes, asked)
        SELECT r.kind, s.state, r.deleted_at IS NOT NULL, g.*, count(*), sum(coalesce(r.size, 0)), sum(a.asked)
        FROM casq_new AS r
        CROSS JOIN LATERAL casq.base_state(r.version, r.synced_version, r.failed_version, r.absent, r.deleted_at IS NOT NULL) AS s (state)
        CROSS JOIN LATERAL casq.count_group(s.state, r.failure_reason, r.queued_at, r.claim_process) AS g
        CROSS JOIN LATERAL (SELECT CASE WHEN r.deleted_at IS NULL THEN casq.bytes_asked(s.state, r.payload) ELSE 0 END AS asked) AS a
        GROUP BY 1, 2, 3, 4, 5, 6;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO casq.registry_changes (kind, state, deleted, reason, since, process, count, bytes, asked)
        SELECT r.kind, s.state, r.deleted_at IS NOT NULL, g.*, -count(*), -sum(coalesce(r.size, 0)), -sum(a.asked)
        FROM casq_old AS r
        CROSS JOIN LATERAL casq.base_state(r.version, r.synced_version, r.failed_version, r.absent, r.deleted_at IS NOT NULL) AS s (state)
        CROSS JOIN LATERAL casq.count_group(s.state, r.failure_reason, r.queued_at, r.claim_process) AS g
        CROSS JOIN LATERAL (SELECT CASE WHEN r.deleted_at IS NULL THEN casq.bytes_asked(s.state, r.payload) ELSE 0 END AS asked) AS a
        GROUP BY 1, 2, 3, 4, 5, 6;
    ELSE
        INSERT INTO casq.registry_changes (kind, state, deleted, reason, since, process, count, bytes, asked)
        SELECT r.kind, s.state, r.deleted_at IS NOT NULL, g.*, sum(r.sign), sum(r.sign * coalesce(r.size, 0)), sum(r.sign * a.asked)
        FROM (SELECT o.*, -1 AS sign FROM casq_old AS o UNION ALL SELECT n.*, 1 FROM casq_new AS n) AS r
        CROSS JOIN LATERAL casq.base_state(r.version, r.synced_version, r.failed_version, r.absent, r.deleted_at IS NOT NULL) AS s (state)
        CROSS JOIN LATERAL casq.count_group(s.state, r.failure_reason, r.queued_at, r.claim_process) AS g
        CROSS JOIN LATERAL (SELECT CASE WHEN r.deleted_at IS NULL THEN casq.bytes_asked(s.state, r.payload) ELSE 0 END AS asked) AS a
        GROUP BY 1, 2, 3, 4, 5, 6
        HAVING sum(r.sign) <> 0 OR sum(r.sign * coalesce(r.size, 0)) <> 0 OR sum(r.sign * a.asked) <> 0;
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.kept_copies()
 RETURNS TABLE(kind text, since timestamp with time zone, process uuid)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
BEGIN
    RETURN QUERY SELECT r.kind, g.since, g.process
    FROM (SELECT DISTINCT m.kind, m.base_id, m.base_incarnation FROM casq.moves AS m) AS m
    CROSS JOIN LATERAL (
        SELECT * FROM casq.registry AS r
        WHERE r.kind = m.kind AND r.resource_id = m.base_id AND r.synced_incarnation = m.base_incarnation LIMIT 1
    ) AS r
    CROSS JOIN LATERAL casq.count_group('removing', NULL, r.queued_at, r.claim_process) AS g
    WHERE r.deleted_at IS NOT NULL AND r.synced_version IS DISTINCT FROM r.version AND r.failed_version IS DISTINCT FROM r.version;
END $function$;

CREATE OR REPLACE FUNCTION casq.kept_for(r casq.registry)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT m.resource_id FROM casq.moves AS m
    WHERE m.kind = r.kind AND m.base_id = r.resource_id AND m.base_incarnation = r.synced_incarnation
      AND r.deleted_at IS NOT NULL AND r.synced_version IS DISTINCT FROM r.version
    ORDER BY m.resource_id LIMIT 1
$function$;

CREATE OR REPLACE FUNCTION casq.key_index(relation regclass, number smallint)
 RETURNS pg_index
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT i FROM pg_index AS i
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = number
    WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid
      -- An image of a view has its keys change places; nobody else writes it.
      AND (i.indimmediate OR EXISTS (SELECT FROM pg_class AS c WHERE c.oid = i.indrelid AND c.relnamespace = 'casq'::regnamespace))
      AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = number
    ORDER BY i.indcollation[0] = a.attcollation DESC, i.indexrelid
    LIMIT 1
$function$;

CREATE OR REPLACE FUNCTION casq.key_sql(t casq.tracked, s casq.track_sql, OUT typed text, OUT present text, OUT beyond text, OUT ordered text)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    a pg_attribute := casq.tracked_column(t, t.key_column);
    base oid := casq.base_type(a.atttypid);
    collated text := '';
    bits integer;
BEGIN
    present := s.present;
    IF base IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN
        typed := 'w.key COLLATE "C"';
        collated := format(' COLLATE %s', (casq.key_index(t.relation, a.attnum)).indcollation[0]::regcollation);
        IF base = 'bpchar'::regtype THEN
            present := format('%s AND %s = c.key', present, s.key);
        END IF;
    ELSIF base = 'uuid'::regtype THEN
        typed := 'CASE WHEN w.key ~ ''^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'' THEN w.key::uuid END';
    ELSE
        SELECT 8 * typlen - 1 INTO bits FROM pg_type WHERE oid = base;
        typed := format('CASE WHEN w.key ~ ''^(0|-?[1-9][0-9]{0,18})$'''
            ' THEN CASE WHEN w.key::numeric BETWEEN -(2::numeric ^ %1$s) AND 2::numeric ^ %1$s - 1 THEN w.key::%2$s END END', bits, base::regtype);
    END IF;
    beyond := format('r.%I > $1::%s%s', a.attname, format_type(base, -1), collated);
    ordered := format('r.%I%s', a.attname, collated);
END $function$;

CREATE OR REPLACE FUNCTION casq.last_event_id()
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM casq.events_id_seq
$function$;

CREATE OR REPLACE FUNCTION casq.late_probes()
 RETURNS TABLE(severity text, what text, since timestamp with time zone, command text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT 'warning', CASE WHEN p.failing_since IS NULL THEN format('kind %s is not compared with its source every %s', p.kind, k.probe)
                           ELSE format('kind %s cannot be compared with its source: %s', p.kind, p.last_error) END,
           coalesce(p.failing_since, p.began_at), format('SELECT * FROM casq.probes WHERE kind = %L', p.kind)
    FROM casq.probes AS p JOIN casq.kinds AS k ON k.kind = p.kind AND k.probe > '0'
    WHERE p.failing_since < clock_timestamp() - interval '5 minutes' OR p.began_at < clock_timestamp() - 2 * k.probe - interval '1 minute'
$function$;

CREATE OR REPLACE FUNCTION casq.leave_artifact()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    INSERT INTO casq.artifact_leftovers (key) VALUES (OLD.key);
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.leave_row()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION casq.leave_source(source integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    s casq.sources;
    name text;
BEGIN
    SELECT * INTO s FROM casq.sources AS x WHERE x.id = leave_source.source;
    IF EXISTS (SELECT FROM casq.view_sources AS p WHERE p.source = s.id) THEN
        PERFORM casq.put_note_function(s);
        RETURN;
    END IF;
    DELETE FROM casq.sources AS x WHERE x.id = s.id;
    FOR name IN SELECT g.tgname FROM pg_trigger AS g WHERE g.tgrelid = s.relation AND g.tgname LIKE 'casq\_note\_%' LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', name, s.relation);
    END LOOP;
    EXECUTE format('DROP FUNCTION IF EXISTS casq.note_%s()', s.id);
END $function$;

CREATE OR REPLACE FUNCTION casq.leave_view(kind text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v casq.views;
    used integer[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('casq.views', 0));
    SELECT * INTO v FROM casq.views AS x WHERE x.kind = leave_view.kind FOR UPDATE;
    used := ARRAY(SELECT p.source FROM casq.view_sources AS p WHERE p.kind = v.kind);
    PERFORM casq.lock_sources(ARRAY(SELECT s.relation FROM casq.sources AS s JOIN pg_class AS c ON c.oid = s.relation WHERE s.id = ANY (used)
                                      AND NOT EXISTS (SELECT FROM casq.view_sources AS p WHERE p.source = s.id AND p.kind <> v.kind) ORDER BY s.name), 'ACCESS EXCLUSIVE');
    PERFORM casq.drop_ids(v.kind);
    DELETE FROM casq.views AS x WHERE x.kind = v.kind;
    PERFORM casq.leave_source(s) FROM unnest(used) AS s ORDER BY s;
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = v.image) THEN
        EXECUTE format('DROP TABLE %s', v.image);
    END IF;
    IF NOT EXISTS (SELECT FROM casq.views) THEN
        PERFORM casq.compare_views(anew => true);
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.lock_sources(relations regclass[], mode text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    r regclass;
    began timestamptz := clock_timestamp();
    kept text := current_setting('lock_timeout');
    budget integer := 500 / greatest(cardinality(relations), 1);
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', budget::text, true);
            FOREACH r IN ARRAY relations LOOP
                EXECUTE format('LOCK TABLE %s IN %s MODE', r, mode);
            END LOOP;
            PERFORM set_config('lock_timeout', kept, true);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF kept <> '0' AND clock_timestamp() - began > kept::interval THEN
                RAISE;
            END IF;
            SELECT l.relation INTO r FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
            WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
              AND c.relkind IN ('r', 'p') AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'casq'::regnamespace, 'river'::regnamespace) LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'casq: % are in use, and this transaction has locked % before, which others may wait for', relations, r
                    USING ERRCODE = 'lock_not_available',
                          HINT = format('Try the whole transaction again, and lock all that it needs at its beginning: SELECT casq.lock_sources(%L, %L).', relations || r, mode);
            END IF;
        END;
        PERFORM pg_sleep(0.1);
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.log_age(c casq.cursors)
 RETURNS double precision
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
    SELECT greatest(0, extract(epoch FROM clock_timestamp() - CASE
        WHEN here.id IS NOT NULL THEN (
            SELECT min(e.occurred_at) FROM (
                (SELECT e.occurred_at FROM casq.events AS e
                 WHERE e.xid >= pg_snapshot_xmax(here.snapshot)
                   AND (target.id IS NULL OR e.id > c.page OR NOT pg_visible_in_snapshot(e.xid, target.snapshot))
                 ORDER BY e.xid, e.id LIMIT 1)
                UNION ALL
                (SELECT e.occurred_at FROM pg_snapshot_xip(here.snapshot) AS late (xid)
                 CROSS JOIN LATERAL (
                    SELECT e.occurred_at FROM casq.events AS e
                    WHERE e.xid = late.xid AND (target.id IS NULL OR e.id > c.page OR NOT pg_visible_in_snapshot(e.xid, target.snapshot))
                    ORDER BY e.id LIMIT 1) AS e)
            ) AS e WHERE c.name <> 'views'
            UNION ALL
            SELECT min(n.noted_at) FROM casq.source_changes AS n WHERE c.name = 'views' AND NOT pg_visible_in_snapshot(n.xid, here.snapshot)
            ORDER BY 1 LIMIT 1)
        ELSE coalesce(c.caught_up_to, session.state_change,
                      CASE WHEN session.pid IS NULL THEN greatest(c.moved_at, c.beat_at) END)
        END), 0)::double precision
    FROM (VALUES (1)) AS one
    LEFT JOIN casq.ticks AS here ON here.id = c.tick AND here.nonce = c.nonce
    LEFT JOIN casq.ticks AS target ON target.id = c.to_tick AND target.nonce = c.to_nonce
    -- Of a session of another role only the pid is told.
    LEFT JOIN LATERAL (
        SELECT a.pid, a.state_change FROM pg_stat_get_activity(coalesce(c.backend_pid, 0)) AS a
        WHERE a.backend_start = c.backend_start OR a.backend_start IS NULL
    ) AS session ON true
$function$;

CREATE OR REPLACE FUNCTION casq.log_partition(t casq.tracked, partition regclass, op text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
BEGIN
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = partition) THEN
        RETURN;
    END IF;
    PERFORM casq.check_trusted(partition);
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', partition);
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: rows of % cannot be logged from an old snapshot', partition
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'Attach and detach partitions of a tracked table under READ COMMITTED.';
    END IF;
    EXECUTE casq.log_statement(t, log_partition.op, partition::text, partition::text);
END $function$;

CREATE OR REPLACE FUNCTION casq.log_statement(kind text, op text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT casq.log_statement(t, log_statement.op) FROM casq.tracked AS t WHERE t.kind = log_statement.kind
$function$;

CREATE OR REPLACE FUNCTION casq.log_statement(t casq.tracked, op text, old_rows text DEFAULT 'casq_old'::text, new_rows text DEFAULT 'casq_new'::text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    filled boolean := EXISTS (SELECT FROM casq.views AS v WHERE v.image = t.relation);
    s casq.track_sql := casq.track_sql(t);
    rows_of text := format('SELECT %s AS key, %s AS scope, %s AS size', s.key, s.scope, s.size);
    images text := '';
    names text := '';
    changed text;
    changes text;
    moved text := '''''';
    swapped text := 'false';
BEGIN
    IF op = 'UPDATE' THEN
        IF s.id IS NOT NULL THEN
            images := format(', %s AS id', s.id);
            names := ', i.id';
        END IF;
        IF t.every_update THEN
            -- What was is never the same as what is.
            names := names || ', i.sign';
        END IF;
        FOR n IN 1 .. cardinality(s.images) LOOP
            images := format('%s, %s AS image%s', images, s.images[n], n);
            names := format('%s, i.image%s', names, n);
        END LOOP;
        changed := format($sql$
                    SELECT i.key, i.scope, i.size%3$s, sum(i.sign) AS sign
                    FROM (%1$s, -1 AS sign%2$s FROM %4$s AS r UNION ALL %1$s, 1 AS sign%2$s FROM %5$s AS r) AS i
                    GROUP BY i.key, i.scope, i.size%6$s
                    HAVING sum(i.sign) <> 0$sql$,
            rows_of, images, CASE WHEN s.id IS NULL THEN '' ELSE ', i.id' END, old_rows, new_rows, names);
        changes := format($sql$
            SELECT i.key, i.scope, i.size, i.items, sum(i.items) OVER (PARTITION BY i.key) AS net,
                   i.items = max(i.items) OVER (PARTITION BY i.key) AS last
            FROM (
                SELECT i.key, i.scope, sum(i.sign * %1$s)::bigint AS size, sum(i.sign)::bigint AS items
                FROM (%2$s) AS i
                GROUP BY i.key, i.scope
            ) AS i$sql$, s.bytes, CASE WHEN s.id IS NULL THEN changed ELSE 'SELECT * FROM changed' END);
        IF s.id IS NOT NULL THEN
            changes := casq.moved_rows(changed, changes);
            swapped := 'c.net = 0 AND c.last AND num_nonnulls(c.came, c.gone) > 0';
            moved := format('coalesce(CASE WHEN c.net < 0 OR c.net = 0 AND p.payload IS NULL THEN c.gone'
                ' WHEN p.payload IS NOT NULL AND (c.net > 0 OR %s) THEN c.came END::text, '''')', swapped);
        END IF;
    ELSE
        changes := format('SELECT i.key, i.scope, %1$s * %2$s AS size, %1$s AS items, %1$s AS net, true AS last FROM (%3$s FROM %4$s AS r) AS i',
            CASE op WHEN 'INSERT' THEN 1 ELSE -1 END, s.bytes, rows_of,
            CASE op WHEN 'INSERT' THEN new_rows ELSE old_rows END);
    END IF;
    RETURN format($sql$
        INSERT INTO casq.events (kind, resource_id, op%12$s, scope_id, moved, size_delta, item_delta, payload)
        SELECT %1$L, %2$s, e.op%13$s,
               CASE WHEN octet_length(e.scope) > 1024 THEN casq.refuse_scope(%1$L, e.scope, e.items) ELSE e.scope END,
               e.moved, e.size, e.items, e.payload
        FROM (%3$s) AS c
        LEFT JOIN LATERAL (
            SELECT %4$s AS payload, %5$s AS scope FROM %6$s AS r WHERE %7$s
            ORDER BY age(r.xmin) LIMIT 1
        ) AS p ON true
        CROSS JOIN LATERAL (
            SELECT 1 AS step, c.scope, c.size, c.items,
                   CASE WHEN p.payload IS NULL OR c.net < 0 THEN 'deleted' WHEN c.net > 0 OR %9$s THEN 'created' ELSE 'updated' END AS op,
                   CASE WHEN p.payload IS NULL OR c.net < 0 THEN '{}' ELSE p.payload END AS payload,
                   %8$s AS moved%10$s
            UNION ALL
            SELECT 2, p.scope, 0, 0, 'created', p.payload, '' WHERE c.net < 0 AND p.payload IS NOT NULL
            UNION ALL
            SELECT 3, p.scope, 0, 0, 'updated', p.payload, ''
            WHERE c.last AND c.net >= 0 AND p.payload IS NOT NULL AND p.scope IS DISTINCT FROM c.scope
        ) AS e
        ORDER BY %11$sc.key, e.step, e.items$sql$,
        t.kind, s.resource_id, changes, s.payload, s.scope, s.root, s.present, moved, swapped,
        CASE WHEN s.id IS NOT NULL AND op = 'UPDATE' THEN format($sql$
            UNION ALL
            SELECT 0, c.scope, 0, 0, 'deleted', '{}', coalesce(c.gone::text, '') WHERE %s AND p.payload IS NOT NULL$sql$, swapped) END,
        -- What a copy may be made of is told first, whichever key is the smaller one.
        CASE WHEN s.id IS NOT NULL AND op = 'UPDATE' THEN 'e.moved = '''' OR e.op = ''created'', ' END,
        -- Of an image alone, which nobody but casq writes: see casq.do_view.
        CASE WHEN filled THEN ', bulk' END, CASE WHEN filled THEN $sql$, current_setting('casq.bulk', true) IS NOT DISTINCT FROM 'on'$sql$ END);
END $function$;

CREATE OR REPLACE FUNCTION casq.members(relation regclass)
 RETURNS SETOF regclass
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT members.relation UNION SELECT relid FROM pg_partition_tree(members.relation)
$function$;

CREATE OR REPLACE FUNCTION casq.move_is_over(m casq.moves)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN r.live THEN r.placed
                ELSE NOT EXISTS (SELECT FROM casq.cursors AS c WHERE c.name = 'registry' AND (c.timeline, c.tick) < (m.timeline, m.tick))
                     AND NOT EXISTS (SELECT FROM casq.event_failures AS f
                                     WHERE f.kind = m.kind AND f.resource_id = m.resource_id AND f.replayed_at IS NULL AND f.cursor = 'registry') END
    FROM (SELECT) AS one
    LEFT JOIN LATERAL (
        SELECT true AS live, t.synced_incarnation IS NOT DISTINCT FROM t.incarnation AND t.checksum IS NOT NULL AS placed FROM casq.registry AS t
        WHERE t.kind = m.kind AND t.resource_id = m.resource_id AND t.deleted_at IS NULL
    ) AS r ON true
$function$;

CREATE OR REPLACE FUNCTION casq.moved_rows(changed text, changes text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT format($sql$
            WITH changed AS (%1$s
            ), ended AS (
                SELECT i.id, i.key, sum(i.sign) AS sign FROM changed AS i GROUP BY i.id, i.key HAVING sum(i.sign) <> 0
            ), moved AS (
                SELECT o.key AS old, n.key AS new
                FROM (SELECT i.id, (array_agg(i.key))[1] AS key FROM ended AS i WHERE i.sign < 0 GROUP BY i.id HAVING count(*) = 1) AS o
                JOIN (SELECT i.id, (array_agg(i.key))[1] AS key FROM ended AS i WHERE i.sign > 0 GROUP BY i.id HAVING count(*) = 1) AS n ON n.id = o.id
            )
            SELECT i.*, came.old AS came, gone.new AS gone
            FROM (%2$s) AS i
            LEFT JOIN moved AS came ON came.new = i.key
            LEFT JOIN moved AS gone ON gone.old = i.key$sql$, changed, changes)
$function$;

CREATE OR REPLACE FUNCTION casq.needs_are_met(build bigint)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN bool_or(b.status IN ('canceled', 'skipped') OR (b.status = 'failed' AND NOT b.allow_failure)) THEN false
        WHEN bool_and(b.status IN ('success', 'failed')) IS NOT FALSE THEN true
    END
    FROM casq.build_needs AS n JOIN casq.builds AS b ON b.id = n.needs_id WHERE n.build_id = build
$function$;

CREATE OR REPLACE FUNCTION casq.needs_ticks()
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT EXISTS (SELECT FROM casq.tracked) OR EXISTS (SELECT FROM casq.runners) OR EXISTS (SELECT FROM casq.followers)
        OR EXISTS (SELECT FROM casq.events AS e
                   WHERE e.id > coalesce((SELECT t.high_id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1), 0))
        OR EXISTS (SELECT FROM casq.cursors AS c JOIN casq.ticks AS t ON t.id = c.tick AND t.nonce = c.nonce)
$function$;

CREATE OR REPLACE FUNCTION casq.neighbour_keys(kind text, keys text[])
 RETURNS TABLE(kind text, key text, theirs text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT o.kind, w.key, substr(place.path, length(folder.path) + 1)
    FROM casq.neighbours AS n
    JOIN casq.kinds AS k ON k.kind = n.kind
    JOIN casq.kinds AS o ON o.kind = n.neighbour
    CROSS JOIN unnest(neighbour_keys.keys) AS w (key)
    CROSS JOIN LATERAL (SELECT CASE WHEN k.prefix = '' THEN w.key ELSE k.prefix || '/' || w.key END) AS place (path)
    CROSS JOIN LATERAL (SELECT CASE WHEN o.prefix = '' THEN '' ELSE o.prefix || '/' END) AS folder (path)
    WHERE n.kind = neighbour_keys.kind AND starts_with(place.path, folder.path)
$function$;

CREATE OR REPLACE FUNCTION casq.new_runner_token()
 RETURNS text
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT 'glrt-' || replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
$function$;

CREATE OR REPLACE FUNCTION casq.newest_tick(OUT timeline integer, OUT timeline_id uuid, OUT tick bigint)
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
    SELECT l.timeline, l.id, t.id FROM casq.ticks AS t JOIN casq.timelines AS l ON l.timeline = t.timeline
    ORDER BY t.id DESC LIMIT 1
$function$;

CREATE OR REPLACE FUNCTION casq.note_rewrite(t casq.tracked, now_filenode oid, now_shape text)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF t.filenode IS NULL OR t.filenode = now_filenode OR t.shape IS NOT DISTINCT FROM now_shape OR pg_relation_size(t.relation) = 0 THEN
        RETURN NULL;
    END IF;
    UPDATE casq.counter_kinds AS k SET complete = false, generation = generation + 1, since = clock_timestamp() WHERE k.kind = t.kind;
    PERFORM casq.ask_recount(t.kind);
    INSERT INTO casq.reconcile_runs (kind, reason)
    SELECT t.kind, 'asked' FROM casq.cursors AS c JOIN casq.timelines AS l ON l.timeline = c.timeline AND l.id = c.timeline_id WHERE c.name = 'registry';
    RETURN format('casq: a column of %s that kind %s tells of got new values without an event;'
        ' it is recounted and compared here, other sites need enqueue reconcile --kind %s', t.relation, t.kind, t.kind);
END $function$;

CREATE OR REPLACE FUNCTION casq.note_statement(s casq.sources, op text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    c record;
    a pg_attribute;
    values_of text[] := '{}';
    names text[] := '{}';
    grouped text[] := '{}';
    large text[] := '{false}';
    rows_of text;
BEGIN
    SELECT * INTO c FROM casq.source_columns(s);
    FOR a IN SELECT t.* FROM pg_attribute AS t WHERE t.attrelid = s.relation AND t.attname = ANY (c.told_by) AND t.attnum > 0 ORDER BY t.attnum LOOP
        IF a.attname = ANY (c.noted) THEN
            names := names || quote_ident(a.attname);
        END IF;
        IF casq.noted(a) LIKE '%COLLATE "C"' THEN
            values_of := values_of || format('CASE WHEN octet_length(%1$s) > 8192 THEN md5(%1$s) ELSE %1$s END AS %2$I', casq.noted(a), a.attname);
            IF a.attname = ANY (c.noted) THEN
                large := large || format('coalesce(octet_length(%s) > 8192, false)', casq.noted(a));
            END IF;
        ELSE
            values_of := values_of || format('%s AS %I', casq.noted(a), a.attname);
        END IF;
        grouped := grouped || quote_ident(a.attname);
    END LOOP;
    rows_of := format('SELECT %s AS casq_large, %s', array_to_string(large, ' OR '), array_to_string(values_of, ', '));
    IF op = 'UPDATE' AND NOT c.any_column THEN
        rows_of := format('SELECT %1$s, casq_large FROM (%2$s, -1 AS casq_sign FROM casq_old AS r UNION ALL %2$s, 1 FROM casq_new AS r) AS i'
            ' GROUP BY casq_large, %3$s HAVING sum(casq_sign) <> 0',
            array_to_string(names, ', '), rows_of, array_to_string(grouped, ', '));
    ELSE
        rows_of := format(CASE op WHEN 'INSERT' THEN 'SELECT %1$s, casq_large FROM (%2$s FROM casq_new AS r) AS i'
                                  WHEN 'DELETE' THEN 'SELECT %1$s, casq_large FROM (%2$s FROM casq_old AS r) AS i'
                                  ELSE 'SELECT %1$s, casq_large FROM (%2$s FROM casq_old AS r UNION ALL %2$s FROM casq_new AS r) AS i' END,
            array_to_string(names, ', '), rows_of);
    END IF;
    RETURN format($sql$
        INSERT INTO casq.source_changes (source, rows)
        SELECT %1$s, CASE WHEN NOT bool_or(n.casq_large) THEN jsonb_agg(n.casq_row) END
        FROM (
            SELECT to_jsonb(casq_d) - 'casq_large' AS casq_row, casq_d.casq_large, (row_number() OVER () - 1) / 200 AS casq_note
            FROM (SELECT DISTINCT * FROM (%2$s) AS i) AS casq_d
        ) AS n
        GROUP BY n.casq_note$sql$, s.id, rows_of);
END $function$;

CREATE OR REPLACE FUNCTION casq.noted(a pg_attribute)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN b.type IN ('bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype,
                        'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN format('r.%I::%s', noted.a.attname, b.type)
        WHEN b.type IN ('text'::regtype, 'varchar'::regtype) THEN format('r.%I::text COLLATE "C"', noted.a.attname)
        ELSE format('CASE WHEN num_nonnulls(r.%1$I) > 0 THEN format(''%%s'', r.%1$I) END COLLATE "C"', noted.a.attname) END
    FROM (SELECT casq.base_type(noted.a.atttypid)::regtype AS type) AS b
$function$;

CREATE OR REPLACE FUNCTION casq.oldest_needed_tick(retention interval)
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT least(
        (SELECT min(t.id) FROM casq.cursors AS c
         JOIN casq.ticks AS t ON t.id = c.tick AND t.nonce = c.nonce),
        (SELECT min(t.id) FROM casq.followers AS f
         JOIN casq.ticks AS t ON t.id = f.tick AND t.nonce = f.nonce
         WHERE f.reported_at > clock_timestamp() - oldest_needed_tick.retention),
        (SELECT min(t.id) FROM casq.counter_shards AS s
         JOIN casq.ticks AS t ON t.id = s.tick AND t.nonce = s.nonce
         WHERE EXISTS (SELECT FROM casq.tracked WHERE scope_column IS NOT NULL)),
        (SELECT min(s.floor_tick) FROM casq.scans AS s
         WHERE s.finished_at IS NULL AND s.token IS NOT NULL
           AND EXISTS (SELECT FROM casq.tracked WHERE scope_column IS NOT NULL)),
        (SELECT max(t.id) FROM casq.ticks AS t))
$function$;

CREATE OR REPLACE FUNCTION casq.oldest_runnable(queue text, OUT any_since timestamp with time zone, OUT urgent_since timestamp with time zone)
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
    SELECT min(j.scheduled_at), min(j.scheduled_at) FILTER (WHERE u.priority = 1)
    FROM generate_series(1, 4) AS u (priority)
    CROSS JOIN LATERAL (
        SELECT t.scheduled_at FROM river.river_job AS t
        WHERE t.state = 'available' AND t.queue = oldest_runnable.queue COLLATE "default" AND t.priority = u.priority
        ORDER BY t.scheduled_at, t.id LIMIT 1
    ) AS j
$function$;

CREATE OR REPLACE FUNCTION casq.oldest_transaction()
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    oldest xid8 := pg_snapshot_xmin(pg_current_snapshot());
    low bigint := (SELECT t.id FROM casq.ticks AS t ORDER BY t.id LIMIT 1);
    high bigint := (SELECT t.id FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1);
    middle bigint;
    since timestamptz;
BEGIN
    IF oldest < pg_snapshot_xmax(pg_current_snapshot()) THEN
        WHILE low < high LOOP
            middle := low + (high - low) / 2;
            IF (SELECT pg_snapshot_xmax(t.snapshot) > oldest FROM casq.ticks AS t WHERE t.id <= middle ORDER BY t.id DESC LIMIT 1) THEN
                high := middle;
            ELSE
                low := middle + 1;
            END IF;
        END LOOP;
        SELECT t.taken_at INTO since FROM casq.ticks AS t WHERE t.id = high AND pg_snapshot_xmax(t.snapshot) > oldest;
    END IF;
    RETURN least(since, (SELECT min(a.xact_start) FROM pg_stat_activity AS a
                         WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.datname = current_database()),
        (SELECT min(x.prepared) FROM pg_prepared_xacts AS x WHERE x.database = current_database()));
END $function$;

CREATE OR REPLACE FUNCTION casq.oldest_work(kind text, queue text, OUT resource_id text, OUT queued_at timestamp with time zone, OUT waits_since timestamp with time zone, OUT runs_since timestamp with time zone)
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
    WITH job AS MATERIALIZED (
        SELECT j.args, p.id IS NOT NULL AS runs, j.attempted_at
        FROM (SELECT * FROM river.river_job AS t WHERE t.state = 'running' AND t.queue = oldest_work.queue COLLATE "default" LIMIT 1000) AS j
        LEFT JOIN casq.processes AS p ON p.id::text = j.attempted_by[array_upper(j.attempted_by, 1)] AND p.dead_at IS NULL
        UNION ALL
        SELECT j.args, false, NULL
        FROM generate_series(1, 4) AS u (priority)
        CROSS JOIN LATERAL (
            SELECT t.args FROM river.river_job AS t
            WHERE t.state = 'available' AND t.queue = oldest_work.queue COLLATE "default" AND t.priority = u.priority
            ORDER BY t.scheduled_at, t.id LIMIT 20
        ) AS j
        UNION ALL
        SELECT j.args, false, NULL
        FROM (
            SELECT t.args FROM river.river_job AS t
            WHERE t.state IN ('retryable', 'scheduled') AND t.queue = oldest_work.queue COLLATE "default" LIMIT 100
        ) AS j
    ), work AS (
        SELECT r.resource_id, r.queued_at, job.runs, job.attempted_at
        FROM job
        JOIN casq.registry AS r ON r.kind = oldest_work.kind AND r.resource_id = (job.args ->> 'resource_id') COLLATE "C"
        WHERE job.args ->> 'kind' = oldest_work.kind
          AND casq.base_state(r.version, r.synced_version, r.failed_version, r.absent, r.deleted_at IS NOT NULL) IN ('pending', 'removing')
    )
    SELECT (array_agg(w.resource_id ORDER BY w.queued_at, w.resource_id))[1], min(w.queued_at),
           min(w.queued_at) FILTER (WHERE NOT w.runs), min(w.attempted_at) FILTER (WHERE w.runs)
    FROM work AS w
$function$;

CREATE OR REPLACE FUNCTION casq.on_ddl()
 RETURNS event_trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    touched oid[];
    kind text;
    source integer;
    said text;
BEGIN
    -- What align itself does brings us here again.
    IF current_setting('casq.aligning', true) = 'on' OR NOT EXISTS (SELECT FROM casq.tracked) THEN
        RETURN;
    END IF;
    SELECT array_agg(DISTINCT o) INTO touched
    FROM pg_event_trigger_ddl_commands() AS c
    LEFT JOIN pg_inherits AS i ON c.classid = 'pg_class'::regclass AND i.inhrelid = c.objid
    CROSS JOIN LATERAL (VALUES (c.objid), (i.inhparent),
        (CASE WHEN c.classid = 'pg_class'::regclass THEN pg_partition_root(c.objid)::oid END),
        (CASE WHEN c.classid = 'pg_subscription'::regclass THEN c.classid END)) AS v (o)
    WHERE c.schema_name IS DISTINCT FROM 'pg_temp' AND o IS NOT NULL;
    FOR kind IN
        SELECT t.kind FROM casq.tracked AS t JOIN pg_class AS c ON c.oid = t.relation
        WHERE t.relation = ANY (touched) OR c.relnamespace = ANY (touched) OR 'pg_subscription'::regclass = ANY (touched)
           OR c.reloftype <> 0 AND EXISTS (SELECT FROM pg_type AS y WHERE y.oid = c.reloftype AND (y.oid = ANY (touched) OR y.typrelid = ANY (touched)))
        ORDER BY t.kind
    LOOP
        PERFORM casq.align(kind);
    END LOOP;
    FOR source IN SELECT s.id FROM casq.sources AS s JOIN pg_class AS c ON c.oid = s.relation
        WHERE s.relation = ANY (touched) OR c.relnamespace = ANY (touched)
           OR EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = s.relation AND i.inhparent = ANY (touched)) ORDER BY s.id
    LOOP
        PERFORM casq.align_source(source);
    END LOOP;
    FOR said IN SELECT r.said FROM casq.replaced() AS r WHERE r.by::oid = ANY (touched) LOOP
        RAISE WARNING '%', said;
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.on_drop()
 RETURNS event_trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    lost record;
    member regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM casq.tracked) THEN
        RETURN;
    END IF;
    FOR lost IN
        SELECT t.kind, t.relation, d.address_names AS names, c.oid IS NULL AS root_too
        FROM pg_event_trigger_dropped_objects() AS d
        JOIN casq.tracked AS t ON d.address_names[3] = ANY (casq.trigger_names(t.kind))
        LEFT JOIN pg_class AS c ON c.oid = t.relation
        WHERE d.object_type = 'trigger'
    LOOP
        member := to_regclass(format('%I.%I', lost.names[1], lost.names[2]));
        IF member IS NULL THEN
            RAISE EXCEPTION 'casq: %.% is tracked as kind %, its rows would be lost without an event',
                quote_ident(lost.names[1]), quote_ident(lost.names[2]), lost.kind
                USING ERRCODE = 'dependent_objects_still_exist',
                      HINT = CASE WHEN lost.root_too THEN 'SELECT casq.untrack(...) first.'
                          ELSE format('First ALTER TABLE ... DETACH PARTITION %I.%I, which logs its rows as deleted.', lost.names[1], lost.names[2]) END;
        ELSIF member IN (SELECT casq.members(lost.relation)) THEN
            RAISE EXCEPTION 'casq: without its triggers, changes of tracked table % would be lost', member
                USING ERRCODE = 'dependent_objects_still_exist',
                      HINT = format('SELECT casq.untrack(%L) gives up tracking.', lost.relation);
        END IF;
    END LOOP;
    FOR lost IN
        SELECT d.object_identity AS name, v.kind FROM pg_event_trigger_dropped_objects() AS d
        JOIN casq.views AS v ON d.object_type = 'view' AND (d.objid = v.view OR d.objid IN (SELECT p.ids FROM casq.view_sources AS p WHERE p.kind = v.kind))
        UNION ALL
        SELECT s.name, p.kind FROM pg_event_trigger_dropped_objects() AS d
        JOIN casq.sources AS s ON d.object_type = 'trigger' AND d.address_names[3] LIKE 'casq\_note\_%'
            AND s.name = format('%I.%I', d.address_names[1], d.address_names[2])
        JOIN casq.view_sources AS p ON p.source = s.id
    LOOP
        RAISE EXCEPTION 'casq: view of kind % is tracked, and is made of %', lost.kind, lost.name
            USING ERRCODE = 'dependent_objects_still_exist', HINT = format('SELECT casq.untrack(kind => %L) first.', lost.kind);
    END LOOP;
    PERFORM casq.check_columns(t) FROM casq.tracked AS t
    WHERE EXISTS (
        SELECT FROM pg_event_trigger_dropped_objects() AS d
        WHERE d.object_type = 'table column' AND d.objid = t.relation OR d.object_type = 'index' AND d.original
    ) AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation);
END $function$;

CREATE OR REPLACE FUNCTION casq.on_rewrite()
 RETURNS event_trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    rewritten regclass := pg_event_trigger_table_rewrite_oid();
    t casq.tracked;
BEGIN
    SELECT * INTO t FROM casq.tracked AS k WHERE k.relation = coalesce(pg_partition_root(rewritten), rewritten);
    IF NOT FOUND OR pg_relation_size(rewritten) = 0 OR t.shape IS NOT DISTINCT FROM casq.shape(t) THEN
        RETURN;
    END IF;
    PERFORM casq.check_columns(t);
    RAISE EXCEPTION 'casq: % is tracked, and a column that is told of would get new values without an event', rewritten
        USING ERRCODE = 'feature_not_supported',
              DETAIL = 'Keys, scopes, sizes or payloads could be others afterwards than the log has told.',
              HINT = format('In one transaction: SELECT casq.untrack(%L), this command, SELECT casq.track(...).'
                  ' Then enqueue reconcile --kind %s, here and at each site that follows. Alter other columns by a command of their own.', t.relation, t.kind);
END $function$;

CREATE OR REPLACE FUNCTION casq.on_timeline()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF EXISTS (SELECT FROM casq.cursors AS c JOIN casq.timelines AS l ON l.timeline = c.timeline AND l.id = c.timeline_id
               WHERE c.name = 'registry' AND l.timeline < NEW.timeline)
    THEN
        INSERT INTO casq.reconcile_runs (reason, walk, lost_since, at_timeline, at_tick)
        -- A tick that is there was committed before all that was lost.
        SELECT 'failover', true, coalesce((SELECT t.taken_at FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1), to_timestamp(0)),
               NEW.timeline, NEW.began_tick;
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.open_view(v casq.views)
 RETURNS casq.views
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    now_definition text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = v.view) AND to_regclass(v.name) IS NOT NULL THEN
        v.view := to_regclass(v.name);
        v.definition := NULL; -- it may be the same, and it was not there
    END IF;
    now_definition := casq.view_definition(v.view);
    IF now_definition IS NULL OR v.definition IS DISTINCT FROM now_definition THEN
        PERFORM casq.check_view(v);
        PERFORM casq.renew_source(s) FROM casq.sources AS s JOIN casq.view_sources AS p ON p.source = s.id WHERE p.kind = v.kind;
        UPDATE casq.views AS x SET view = v.view, name = casq.full_name(v.view), definition = now_definition, fills = true,
            compare_asked_at = CASE WHEN x.definition IS NULL THEN x.compare_asked_at ELSE clock_timestamp() END
        WHERE x.kind = v.kind RETURNING * INTO v;
    END IF;
    PERFORM casq.check_trusted(v.view);
    PERFORM casq.check_trusted(p.ids) FROM casq.view_sources AS p WHERE p.kind = v.kind;
    RETURN v;
END $function$;

CREATE OR REPLACE FUNCTION casq.owner()
 RETURNS oid
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT nspowner FROM pg_namespace WHERE nspname = 'casq'
$function$;

CREATE OR REPLACE FUNCTION casq.page_of_ids(v casq.views, most integer)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    type text := casq.image_type(v, v.id_column);
    ids text[];
BEGIN
    EXECUTE format($sql$
        SELECT array_agg(u.id::text ORDER BY u.id) FROM (
            SELECT id FROM (
                (SELECT v.%3$I::%4$s%5$s AS id FROM %1$s AS v WHERE $1 IS NULL AND v.%3$I IS NOT NULL OR v.%3$I::%4$s%5$s > $1::%4$s ORDER BY 1 LIMIT $2)
                UNION
                (SELECT h.%3$I FROM %2$s AS h WHERE $1 IS NULL OR h.%3$I > $1::%4$s ORDER BY 1 LIMIT $2)
            ) AS b ORDER BY id LIMIT $2
        ) AS u$sql$, v.view, v.image, v.id_column, type, CASE WHEN type = 'text' THEN ' COLLATE "C"' ELSE '' END)
    INTO ids USING v.compared_to, most;
    RETURN coalesce(ids, '{}');
END $function$;

CREATE OR REPLACE FUNCTION casq.passes(state text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT left(state, 2) IN ('08', '25', '40', '53', '57', '58', 'XX') OR state = '55P03'
$function$;

CREATE OR REPLACE FUNCTION casq.place_holders(kind text, resource_id text)
 RETURNS TABLE(kind text, resource_id text, claim uuid, size bigint)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
    WITH neighbour AS (
        SELECT o.kind, CASE WHEN o.prefix = '' THEN '' ELSE o.prefix || '/' END AS root,
               CASE WHEN k.prefix = '' THEN '' ELSE k.prefix || '/' END || place_holders.resource_id AS path
        FROM casq.kinds AS k
        JOIN casq.kinds AS o ON o.transfer = k.transfer AND o.kind <> k.kind
        WHERE k.kind = place_holders.kind AND k.prefix IS NOT NULL
    )
    SELECT n.kind, r.resource_id, r.claim, r.size
    FROM neighbour AS n
    CROSS JOIN LATERAL string_to_array(n.path, '/') AS parts
    CROSS JOIN LATERAL generate_series(1, cardinality(parts)) AS depth
    CROSS JOIN LATERAL array_to_string(parts[:depth], '/') AS around
    JOIN casq.registry AS r ON r.kind = n.kind AND r.resource_id = substr(around, length(n.root) + 1)
    WHERE starts_with(around, n.root) AND (r.claim IS NOT NULL OR r.size IS NOT NULL)
    UNION ALL
    SELECT n.kind, within.*
    FROM neighbour AS n
    CROSS JOIN LATERAL (
        SELECT r.resource_id, r.claim, r.size FROM casq.registry AS r
        WHERE r.kind = n.kind AND starts_with(n.path || '/', n.root)
          AND r.resource_id > substr(n.path || '/', length(n.root) + 1)
          AND r.resource_id < substr(n.path || '0', length(n.root) + 1)
          AND (r.claim IS NOT NULL OR r.size IS NOT NULL)
        ORDER BY r.resource_id LIMIT 1
    ) AS within
    UNION ALL
    SELECT n.kind, within.*
    FROM neighbour AS n
    CROSS JOIN LATERAL (
        SELECT r.resource_id, r.claim, r.size FROM casq.registry AS r
        -- All of the other kind is within it.
        WHERE r.kind = n.kind AND starts_with(n.root, n.path || '/')
          AND (r.claim IS NOT NULL OR r.size IS NOT NULL)
        ORDER BY r.resource_id LIMIT 1
    ) AS within
$function$;

CREATE OR REPLACE FUNCTION casq.prefixes_overlap(a text, b text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT '' IN (a, b) OR starts_with(a || '/', b || '/') OR starts_with(b || '/', a || '/')
$function$;

CREATE OR REPLACE FUNCTION casq.privileges()
 RETURNS TABLE(what text, privilege text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    VALUES ('worker', 'USAGE ON SCHEMA casq, river'),
           ('worker', 'SELECT ON ALL TABLES IN SCHEMA casq, river'),
           ('worker', 'USAGE, SELECT ON ALL SEQUENCES IN SCHEMA casq, river'),
           ('worker', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA casq, river'),
           ('worker', 'INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river'),
           ('worker', 'INSERT, UPDATE, DELETE ON casq.kinds, casq.targets, casq.workers, casq.log_delays,'
               ' casq.registry, casq.moves, casq.registry_counts, casq.registry_changes, casq.registry_floors, casq.cursors, casq.event_failures, casq.processes,'
               ' casq.reconcile_runs, casq.reconcile_counts, casq.reconcile_orphans, casq.probes,'
               ' casq.counter_kinds, casq.counter_shards, casq.counters, casq.scans, casq.refreshes,'
               ' casq.projects, casq.tag_sets, casq.runners, casq.runner_managers, casq.pipelines, casq.builds, casq.build_needs, casq.build_signs,'
               ' casq.build_traces, casq.build_trace_chunks, casq.artifacts, casq.artifact_leftovers'),
           ('worker', 'INSERT ON casq.ticks, casq.timelines'),
           ('worker', 'UPDATE, DELETE ON casq.audit'),
           ('follower', 'USAGE ON SCHEMA casq'),
           ('follower', 'SELECT ON casq.events, casq.ticks, casq.timelines, casq.kinds, casq.migration_version'),
           ('follower', 'SELECT (oldest_program) ON casq.installation'),
           ('follower', 'EXECUTE ON FUNCTION casq.resources, casq.resources_of, casq.resources_missing, casq.check_scopes, casq.report_follower, casq.views_behind'),
           ('application', 'USAGE ON SCHEMA casq'),
           ('application', 'SELECT ON casq.kinds, casq.statistics, casq.counter_status'),
           ('application', 'SELECT (id) ON casq.events'),
           ('application', 'INSERT (kind, resource_id, op, scope_id, moved, size_delta, item_delta, payload) ON casq.events'),
           ('application', 'EXECUTE ON FUNCTION casq.touch, casq.totals, casq.total, casq.scopes_of'),
           ('application', 'SELECT ON casq.server_timelines'),
           ('application', 'EXECUTE ON FUNCTION casq.begin_server_timeline'),
           ('application', 'SELECT ON casq.projects, casq.pipelines, casq.build_needs, casq.tag_sets, casq.build_queue, casq.stuck_pipelines,'
               ' casq.build_traces, casq.build_trace_chunks, casq.artifacts'),
           ('application', 'EXECUTE ON FUNCTION casq.begin_pipeline, casq.add_build, casq.cancel_build, casq.retry_build, casq.why_build'),
           ('operator', 'USAGE ON SCHEMA casq, river'),
           ('operator', 'SELECT ON ALL TABLES IN SCHEMA casq, river'),
           ('operator', 'USAGE, SELECT ON ALL SEQUENCES IN SCHEMA casq, river'),
           ('operator', 'INSERT, UPDATE, DELETE ON casq.kinds, casq.registry, casq.moves, casq.registry_counts, casq.registry_changes, casq.registry_floors, casq.cursors, casq.event_failures, casq.processes,'
               ' casq.reconcile_runs, casq.reconcile_counts, casq.reconcile_orphans, casq.probes, casq.selections,'
               ' casq.counter_shards, casq.counters, casq.scans, casq.refreshes,'
               ' casq.projects, casq.tag_sets, casq.runners, casq.runner_managers, casq.pipelines, casq.builds, casq.build_needs, casq.build_signs,'
               ' casq.build_traces, casq.build_trace_chunks, casq.artifacts, casq.artifact_leftovers'),
           ('operator', 'INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river'),
           ('operator', 'INSERT ON casq.ticks, casq.timelines'),
           ('operator', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA casq, river'),
           ('reader', 'USAGE ON SCHEMA casq, river'),
           ('reader', 'SELECT ON ALL TABLES IN SCHEMA river'),
           ('reader', 'EXECUTE ON FUNCTION casq.totals, casq.total, casq.scopes_of, casq.why_build')
    UNION ALL
    SELECT 'worker', 'MAINTAIN ON ALL TABLES IN SCHEMA river'
    WHERE current_setting('server_version_num')::integer >= 170000
    UNION ALL
    SELECT 'reader', r.privilege FROM casq.readable() AS r
    UNION ALL -- not what variables and tokens its builds were given
    SELECT 'application', r.privilege FROM casq.readable() AS r WHERE r.privilege LIKE '% ON casq.builds'
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_builds()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
    WITH RECURSIVE lane (tag_set) AS (
        (SELECT b.tag_set FROM casq.builds AS b WHERE b.in_queue ORDER BY b.tag_set LIMIT 1)
        UNION ALL
        SELECT n.tag_set FROM lane CROSS JOIN LATERAL (
            SELECT b.tag_set FROM casq.builds AS b WHERE b.in_queue AND b.tag_set > lane.tag_set ORDER BY b.tag_set LIMIT 1
        ) AS n
    )
    (SELECT 'warning', format('builds %s wait, and no runner that takes them was heard of within 5 minutes',
                CASE WHEN s.tags = '{}' THEN 'without tags' ELSE 'with the tags ' || array_to_string(s.tags, ', ') END),
            head.pending_at, 'enqueue runner list'
     FROM lane JOIN casq.tag_sets AS s ON s.id = lane.tag_set
     CROSS JOIN LATERAL (
        SELECT b.pending_at, b.project_id FROM casq.builds AS b WHERE b.tag_set = lane.tag_set AND b.in_queue
        ORDER BY b.priority DESC, b.turn, b.id LIMIT 1
     ) AS head
     WHERE head.pending_at < clock_timestamp() - interval '5 minutes' AND NOT EXISTS (
        SELECT FROM casq.runners AS r JOIN casq.runner_managers AS m ON m.runner_id = r.id
        WHERE NOT r.paused AND m.contacted_at > clock_timestamp() - interval '5 minutes'
          AND (r.projects IS NULL OR head.project_id = ANY (r.projects))
          AND CASE WHEN s.tags = '{}' THEN r.run_untagged ELSE s.tags <@ r.tags END)
     LIMIT 20)
    UNION ALL
    SELECT 'warning', format('%s builds were handed out and have not begun', count(*)), min(b.assigned_at), 'enqueue builds --status running'
    FROM casq.builds AS b
    WHERE b.status = 'running' AND b.started_at IS NULL AND b.assigned_at < clock_timestamp() - interval '1 minute'
    HAVING count(*) > 0
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_counters()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET jit TO 'off'
AS $function$
    SELECT CASE WHEN s.asked THEN 'notice' ELSE 'warning' END, format('counters of kind %s are not exact%s', k.kind, CASE WHEN s.asked THEN ', and are recounted' END),
           k.since, CASE WHEN s.asked THEN 'enqueue status' ELSE format('enqueue refresh --kind %s --all', k.kind) END
    FROM casq.counter_kinds AS k
    JOIN casq.tracked AS t ON t.kind = k.kind AND t.scope_column IS NOT NULL
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM casq.scans AS s WHERE s.kind = k.kind AND s.all_scopes AND NOT s.compare AND s.finished_at IS NULL) AS asked) AS s
    WHERE NOT k.complete
    UNION ALL
    SELECT 'critical', format('counters of kind %s differ from their table', k.kind), k.differs_since, format('enqueue refresh --kind %s --all', k.kind)
    FROM casq.counter_kinds AS k
    JOIN casq.tracked AS t ON t.kind = k.kind AND t.scope_column IS NOT NULL
    WHERE k.differs_since IS NOT NULL
    UNION ALL
    SELECT 'warning', format('recount %s of kind %s %s', s.id, s.kind, CASE WHEN s.started_at IS NULL THEN 'has not begun'
               WHEN s.scanned_at IS NOT NULL THEN 'has counted, and is not swapped in' ELSE format('was begun %s times', s.tries) END),
           coalesce(s.scanned_at, s.started_at, s.requested_at), 'enqueue status'
    FROM casq.scans AS s
    WHERE s.finished_at IS NULL AND s.part_of IS NULL AND NOT s.in_parts
      AND (s.started_at IS NULL AND s.requested_at < clock_timestamp() - interval '10 minutes'
           OR s.scanned_at < clock_timestamp() - interval '10 minutes' OR s.tries > 5)
    UNION ALL
    SELECT 'warning', 'counters are late', clock_timestamp() - max(c.buffer_age), 'SELECT * FROM casq.counter_status'
    FROM casq.counter_status AS c
    WHERE EXISTS (SELECT FROM casq.tracked AS t WHERE t.scope_column IS NOT NULL)
    HAVING max(c.buffer_age) > interval '1 minute'
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_followers()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
    SELECT 'warning', format('site %s does not report any more', f.name), f.reported_at, format('SELECT casq.forget_follower(%L)', f.name)
    FROM casq.followers AS f WHERE f.reported_at < clock_timestamp() - interval '10 minutes'
    UNION ALL
    SELECT 'warning', format('%s holds the log back', r.name), next.taken_at, r.command
    FROM (
        SELECT 'site ' || f.name AS name, f.tick, f.nonce, 'SELECT * FROM casq.followers' AS command FROM casq.followers AS f
        WHERE f.reported_at >= clock_timestamp() - interval '10 minutes'
        UNION ALL
        SELECT 'cursor ' || c.name, c.tick, c.nonce, 'SELECT * FROM casq.cursor_status' FROM casq.cursors AS c
        UNION ALL
        SELECT * FROM (SELECT 'the counters', s.tick, s.nonce, 'SELECT * FROM casq.counter_status' FROM casq.counter_shards AS s ORDER BY s.tick LIMIT 1) AS s
        WHERE EXISTS (SELECT FROM casq.tracked AS t WHERE t.scope_column IS NOT NULL)
    ) AS r
    JOIN casq.ticks AS t ON t.id = r.tick AND t.nonce = r.nonce
    CROSS JOIN LATERAL (SELECT n.taken_at FROM casq.ticks AS n WHERE n.id > t.id ORDER BY n.id LIMIT 1) AS next
    WHERE next.taken_at < clock_timestamp() - interval '1 hour'
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_log()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
    SELECT 'critical', 'no tick is taken here: nothing that is written is seen', n.taken_at, 'enqueue status'
    FROM (SELECT t.taken_at FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1) AS n
    WHERE n.taken_at < clock_timestamp() - interval '30 s' AND casq.needs_ticks()
    UNION ALL
    SELECT 'critical', 'no tick was ever taken here: nothing that is written is seen', w.since, 'worker run'
    FROM (SELECT least((SELECT min(k.tracked_at) FROM casq.tracked AS k),
                       (SELECT e.occurred_at FROM casq.events AS e ORDER BY e.id LIMIT 1)) AS since) AS w
    WHERE NOT EXISTS (SELECT FROM casq.ticks) AND w.since < clock_timestamp() - interval '30 s'
    UNION ALL
    SELECT 'critical', 'the source does not answer', clock_timestamp() - f.away, 'enqueue status'
    FROM casq.followed_log AS f WHERE f.away IS NOT NULL
    UNION ALL
    SELECT 'critical', 'the source has no new tick: no worker takes ticks on its primary, or it is a standby that is not replicated to',
           clock_timestamp() - f.stands, 'enqueue status'
    FROM casq.followed_log AS f WHERE f.stands IS NOT NULL
    UNION ALL
    SELECT 'critical', format('no process holds cursor %s%s', c.name, ': ' || c.last_error), greatest(c.moved_at, c.beat_at), 'SELECT * FROM casq.cursor_status'
    FROM casq.cursors AS c
    WHERE greatest(c.moved_at, c.beat_at) < clock_timestamp() - interval '1 minute'
      AND NOT EXISTS (SELECT FROM pg_stat_get_activity(coalesce(c.backend_pid, 0)) AS a WHERE a.backend_start = c.backend_start OR a.backend_start IS NULL)
      AND EXISTS (SELECT FROM casq.live_workers)
    UNION ALL
    SELECT 'warning', format('cursor %s does not go on: %s', c.name, c.last_error), greatest(c.moved_at, c.beat_at), 'SELECT * FROM casq.cursor_status'
    FROM casq.cursors AS c
    WHERE c.last_error IS NOT NULL AND casq.log_age(c) > 30
    UNION ALL
    SELECT 'warning', format('%s events of kind %s could not be applied', CASE WHEN sum(count(*)) OVER () < 10000 THEN count(*)::text ELSE 'at least ' || count(*) END, f.kind),
           min(f.failed_at), 'enqueue replay --all'
    FROM (SELECT e.kind, e.failed_at FROM casq.event_failures AS e WHERE e.replayed_at IS NULL LIMIT 10000) AS f
    GROUP BY f.kind
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_queues()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH q AS MATERIALIZED (
        SELECT n.name, r.paused_at, o.any_since, o.urgent_since, EXISTS (SELECT FROM casq.live_workers AS w WHERE n.name = ANY (w.queues)) AS served
        FROM (SELECT k.queue AS name FROM casq.kinds AS k UNION SELECT t.name FROM river.river_queue AS t) AS n
        LEFT JOIN river.river_queue AS r ON r.name = n.name
        CROSS JOIN LATERAL casq.oldest_runnable(n.name) AS o
    )
    SELECT CASE WHEN q.any_since IS NULL THEN 'notice' ELSE 'warning' END, format('queue %s is paused%s', q.name, CASE WHEN q.any_since IS NOT NULL THEN ', and has jobs' END),
           q.paused_at, format('enqueue queue resume %s', q.name)
    FROM q WHERE q.paused_at IS NOT NULL
    UNION ALL
    SELECT 'critical', format('no worker serves queue %s, and it has jobs', q.name), q.any_since, 'enqueue queue list'
    FROM q WHERE q.paused_at IS NULL AND NOT q.served AND q.any_since < clock_timestamp() - interval '30 s' AND EXISTS (SELECT FROM casq.live_workers)
    UNION ALL
    SELECT 'warning', format('jobs of queue %s wait for a worker that has time', q.name), q.urgent_since, 'enqueue queue list'
    FROM q WHERE q.paused_at IS NULL AND q.served AND q.urgent_since < clock_timestamp() - interval '5 minutes'
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_registry()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN l.lag_seconds >= 900 THEN 'critical' ELSE 'warning' END,
           format('copies of kind %s are late, most of it %s', l.kind, CASE greatest(l.to_standby_seconds, l.to_registry_seconds, l.queue_seconds, l.copy_seconds)
               WHEN l.to_standby_seconds THEN 'on the way to the host that is followed' WHEN l.to_registry_seconds THEN 'on the way to the registry'
               WHEN l.queue_seconds THEN 'in the queue' ELSE 'in a run' END),
           clock_timestamp() - make_interval(secs => l.lag_seconds), format('SELECT * FROM casq.replication_lag(%L)', l.kind)
    FROM casq.replication_lags AS l WHERE l.lag_seconds >= 300
    UNION ALL
    SELECT CASE WHEN f.failed * 20 >= f.total THEN 'warning' ELSE 'notice' END, format('%s of %s resources of kind %s have failed', f.failed, f.total, f.kind),
           f.since, 'SELECT * FROM casq.registry_failures'
    FROM (
        SELECT g.kind, sum(g.count) FILTER (WHERE g.state = 'failed') AS failed, sum(g.count) AS total, min(g.at) FILTER (WHERE g.state = 'failed') AS since
        FROM (
            SELECT c.kind, c.state, c.count, c.first_at AS at FROM casq.registry_counts AS c
            UNION ALL
            SELECT d.kind, d.state, d.count, CASE WHEN d.count > 0 THEN d.at END FROM casq.registry_changes AS d
        ) AS g
        WHERE g.state <> 'removed' GROUP BY g.kind
    ) AS f
    WHERE f.failed > 0
    UNION ALL
    SELECT * FROM casq.late_probes()
    UNION ALL
    SELECT 'warning', format('reconcile %s waits: %s', r.id, r.waiting), r.requested_at, 'SELECT * FROM casq.reconcile_report WHERE finished_at IS NULL'
    FROM casq.reconcile_runs AS r WHERE r.finished_at IS NULL AND r.waiting IS NOT NULL
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_server()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT 'warning', 'a transaction is open for long: in its database nothing that went since can be vacuumed', t.since,
           'SELECT datname, pid, usename, application_name, state, xact_start FROM pg_stat_activity ORDER BY xact_start'
    FROM (SELECT casq.oldest_transaction() AS since) AS t WHERE t.since < clock_timestamp() - interval '30 minutes'
    UNION ALL
    SELECT CASE WHEN s.wal_status IN ('unreserved', 'lost') THEN 'critical' ELSE 'warning' END,
           format('replication slot %s %s', s.slot_name, CASE WHEN s.wal_status = 'lost' THEN 'is lost' ELSE 'holds more than 1 GiB of the WAL' END),
           NULL, 'SELECT * FROM pg_replication_slots'
    FROM pg_replication_slots AS s
    WHERE s.wal_status IN ('unreserved', 'lost')
       OR pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn) > 1073741824
    UNION ALL
    -- Roles without pg_monitor see none.
    SELECT 'warning', format('standby %s is late', r.application_name), clock_timestamp() - r.replay_lag, 'SELECT * FROM pg_stat_replication'
    FROM pg_stat_replication AS r WHERE r.replay_lag > interval '1 minute'
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_views()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT 'critical', format('view %s of kind %s is not followed: %s', v.name, v.kind, v.error), v.failed_at, 'SELECT * FROM casq.view_status'
    FROM casq.views AS v WHERE v.error IS NOT NULL
    UNION ALL
    SELECT 'critical', s.problem, s.problem_at, 'SELECT * FROM casq.view_status' FROM casq.sources AS s WHERE s.problem IS NOT NULL
    UNION ALL
    SELECT 'warning', format('%s rows of view %s are not followed, such as that of id %s: %s', i.n, v.name, i.id, i.reason), i.since,
           'SELECT * FROM casq.view_ids WHERE reason IS NOT NULL'
    FROM casq.views AS v
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, min(p.failed_at) AS since, min(p.id) AS id, (array_agg(p.reason ORDER BY p.id))[1] AS reason
        FROM (SELECT * FROM casq.view_ids AS w WHERE w.kind = v.kind AND w.reason IS NOT NULL LIMIT 10000) AS p
    ) AS i WHERE i.n > 0
$function$;

CREATE OR REPLACE FUNCTION casq.problems_of_workers()
 RETURNS SETOF casq.problem
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH state AS MATERIALIZED (
        SELECT w.id, w.host, w.pid, r.role, (r.state ->> 'ready')::boolean AS ready, r.state ->> 'error' AS error, r.state ->> 'warning' AS warning,
               w.beat_at - make_interval(secs => (r.state ->> 'seconds')::double precision) AS since
        FROM casq.live_workers AS w CROSS JOIN LATERAL jsonb_each(w.roles) AS r (role, state)
    ), expected (role, does) AS (
        SELECT 'ticker', 'takes ticks' WHERE casq.needs_ticks()
        UNION ALL SELECT 'counters', 'counts' WHERE EXISTS (SELECT FROM casq.tracked AS t WHERE t.scope_column IS NOT NULL)
        UNION ALL SELECT x.role, x.does FROM (VALUES ('registry', 'follows the log'), ('sync', 'copies')) AS x (role, does)
            WHERE EXISTS (SELECT FROM casq.cursors AS c WHERE c.name = 'registry')
        UNION ALL SELECT 'runner', 'hands out builds' WHERE EXISTS (SELECT FROM casq.runners)
        UNION ALL SELECT 'views', 'evaluates tracked views' WHERE EXISTS (SELECT FROM casq.views)
    )
    -- One that stops in order takes its row along: no tick was taken since.
    SELECT 'critical', 'no worker is running', coalesce((SELECT max(w.beat_at) FROM casq.workers AS w),
               (SELECT t.taken_at FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1)), 'worker run'
    WHERE NOT EXISTS (SELECT FROM casq.live_workers) AND EXISTS (SELECT FROM expected)
    UNION ALL
    SELECT 'critical', format('no worker %s%s', e.does, ': ' || s.error), s.since, 'enqueue status'
    FROM expected AS e
    LEFT JOIN LATERAL (SELECT t.error, t.since FROM state AS t WHERE t.role = e.role ORDER BY t.since LIMIT 1) AS s ON true
    WHERE coalesce(s.since, (SELECT min(w.started_at) FROM casq.live_workers AS w)) < clock_timestamp() - interval '10 s'
      AND NOT EXISTS (SELECT FROM state AS t WHERE t.role = e.role AND t.ready)
      -- Said of the log, see below.
      AND NOT (e.role = 'registry' AND EXISTS (SELECT FROM casq.followed_log AS f WHERE f.away IS NOT NULL))
    UNION ALL
    -- Nobody else copies where the folders of all are not what they were.
    SELECT CASE WHEN s.role = 'folders' AND NOT EXISTS (
                    SELECT FROM state AS t WHERE t.role = 'sync' AND t.ready AND NOT EXISTS (
                        SELECT FROM state AS f WHERE f.id = t.id AND f.role = 'folders'))
                THEN 'critical' ELSE 'warning' END,
           format('worker %s on %s is not ready (%s): %s', s.pid, s.host, s.role, coalesce(s.error, 'it begins')), s.since, 'enqueue status'
    FROM state AS s
    WHERE NOT s.ready AND s.since < clock_timestamp() - interval '10 s' AND (s.role NOT IN (SELECT e.role FROM expected AS e) OR EXISTS (SELECT FROM state AS t WHERE t.role = s.role AND t.ready))
    UNION ALL
    SELECT 'warning', format('worker %s on %s (%s): %s', s.pid, s.host, s.role, s.warning), s.since, 'enqueue status'
    FROM state AS s
    WHERE s.warning IS NOT NULL AND s.role <> 'registry' -- said of the log
    UNION ALL
    SELECT 'warning', format('worker %s on %s waits for %s', w.pid, w.host, w.waiting), w.started_at, 'enqueue status'
    FROM casq.live_workers AS w WHERE w.waiting IS NOT NULL AND w.started_at < clock_timestamp() - interval '10 s'
    UNION ALL
    SELECT 'warning', format('worker %s on %s is of schema %s, and the database of %s', w.pid, w.host, w.schema_version, v.version),
           w.started_at, CASE WHEN w.schema_version > v.version THEN 'worker migrate up' ELSE 'worker --version' END
    FROM casq.live_workers AS w JOIN casq.migration_version AS v ON v.version <> w.schema_version
$function$;

CREATE OR REPLACE FUNCTION casq.prune_events(after bigint, batch integer DEFAULT 10000, OUT pruned bigint, OUT last_id bigint)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
DECLARE
    oldest casq.ticks;
BEGIN
    pruned := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('casq.prune', 0)) THEN
        RETURN;
    END IF;
    SELECT * INTO oldest FROM casq.ticks AS t ORDER BY t.id LIMIT 1;
    SELECT max(page.id) INTO last_id
    FROM (SELECT e.id FROM casq.events AS e
          WHERE e.id > after AND e.id <= oldest.high_id ORDER BY e.id LIMIT batch) AS page;
    DELETE FROM casq.events AS e
    WHERE e.id > after AND e.id <= last_id AND pg_visible_in_snapshot(e.xid, oldest.snapshot);
    GET DIAGNOSTICS pruned = ROW_COUNT;
END $function$;

CREATE OR REPLACE FUNCTION casq.prune_source_changes(batch integer DEFAULT 10000)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
DECLARE
    n bigint;
BEGIN
    DELETE FROM casq.source_changes AS d USING (
        SELECT e.xid, e.id FROM casq.cursors AS c
        JOIN casq.ticks AS t ON t.id = c.tick AND t.nonce = c.nonce
        CROSS JOIN LATERAL (SELECT * FROM casq.source_changes AS e WHERE e.id <= t.high_id AND pg_visible_in_snapshot(e.xid, t.snapshot) ORDER BY e.id LIMIT batch) AS e
        WHERE c.name = 'views'
    ) AS past
    WHERE d.xid = past.xid AND d.id = past.id;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $function$;

CREATE OR REPLACE FUNCTION casq.prune_ticks(retention interval, batch integer DEFAULT 5000)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    needed bigint;
    keep bigint;
    pruned bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('casq.prune', 0)) THEN
        RETURN 0;
    END IF;
    needed := casq.oldest_needed_tick(retention);
    SELECT page.id INTO keep
    FROM (
        SELECT oldest.id, lead(oldest.taken_at) OVER (ORDER BY oldest.id) AS next_taken_at
        FROM (SELECT t.id, t.taken_at FROM casq.ticks AS t
              WHERE t.id <= needed ORDER BY t.id LIMIT batch + 1) AS oldest
    ) AS page
    WHERE page.next_taken_at IS NULL OR page.next_taken_at > clock_timestamp() - retention
    ORDER BY page.id LIMIT 1;
    DELETE FROM casq.ticks AS t WHERE t.id < keep;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $function$;

CREATE OR REPLACE FUNCTION casq.put_ids(v casq.views, source casq.sources, query text, names_in text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    p casq.view_sources;
    own text := format('%s_%s', v.kind, source.id);
    other regclass;
    kept text := current_setting('search_path');
BEGIN
    EXECUTE format('CREATE VIEW casq.changed AS SELECT * FROM jsonb_to_recordset(NULLIF(current_setting(''casq.changed'', true), '''')::jsonb) AS r (%s)', (
        SELECT string_agg(format('%I %s%s', a.attname, format_type(b.type, -1), CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN ' COLLATE ' || a.attcollation::regcollation END), ', ' ORDER BY a.attnum)
        FROM pg_attribute AS a CROSS JOIN LATERAL (SELECT casq.base_type(a.atttypid)) AS b (type) JOIN pg_type AS t ON t.oid = b.type
        WHERE a.attrelid = source.relation AND a.attnum > 0 AND NOT a.attisdropped));
    BEGIN
        PERFORM set_config('search_path', concat_ws(', ', NULLIF(names_in, ''), 'casq'), true);
        EXECUTE format(E'CREATE VIEW casq.%I (id) AS %s\n', 'ids_' || own, rtrim(query, E' \n\t;'));
        PERFORM set_config('search_path', kept, true);
    EXCEPTION WHEN syntax_error_or_access_rule_violation OR feature_not_supported OR invalid_parameter_value THEN
        RAISE EXCEPTION 'casq: the query of source %: %', source.name, SQLERRM
            USING ERRCODE = SQLSTATE, DETAIL = query, HINT = 'It is SELECT <id of the view> FROM changed, where changed has the columns of the source.';
    END;
    EXECUTE format('ALTER VIEW casq.changed RENAME TO %I', 'changed_' || own);
    EXECUTE format('ALTER VIEW casq.%I OWNER TO %s', 'changed_' || own, casq.owner()::regrole);
    EXECUTE format('ALTER VIEW casq.%I OWNER TO %s', 'ids_' || own, casq.owner()::regrole);
    p := ROW(v.kind, source.id, format('casq.%I', 'ids_' || own)::regclass, format('casq.%I', 'changed_' || own)::regclass);
    SELECT c.oid INTO other FROM pg_rewrite AS w
    JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class AS c ON c.oid = d.refobjid AND c.relnamespace = 'casq'::regnamespace
    WHERE w.ev_class = p.ids AND c.oid NOT IN (p.ids, p.changed) LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'casq: the query of source % reads %, which is casq''s own', source.name, other
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Is the table that is meant in the search_path? Or name its schema.';
    ELSIF (SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = p.ids AND a.attnum > 0) <> 1
        OR NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_rewrite AS w ON w.oid = d.objid AND w.ev_class = p.ids
                       WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = p.changed)
        OR casq.columns_named(p.ids, p.changed) = '{}'
    THEN
        RAISE EXCEPTION 'casq: the query of source % does not lead from changed rows to ids', source.name
            USING ERRCODE = 'invalid_parameter_value', DETAIL = query, HINT = 'It has one column, and names columns of changed: SELECT id FROM changed.';
    END IF;
    PERFORM casq.check_ids(v, p.ids, source.name);
    INSERT INTO casq.view_sources SELECT p.*;
END $function$;

CREATE OR REPLACE FUNCTION casq.put_image(v casq.views)
 RETURNS regclass
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    called text[] := ARRAY(SELECT n FROM unnest(ARRAY[v.id_column, v.key_column, v.scope_column, v.size_column] || v.payload_columns)
                           WITH ORDINALITY AS c (n, nth) WHERE n IS NOT NULL GROUP BY n ORDER BY min(nth));
BEGIN
    EXECUTE format('CREATE TABLE casq.%I (%s, PRIMARY KEY (%I))', 'image_' || v.kind, (
        SELECT string_agg(format('%I %s%s%s', c, casq.image_type(v, c), CASE WHEN casq.image_type(v, c) = 'text' THEN ' COLLATE "C"' END,
                                 CASE WHEN c = v.key_column THEN ' NOT NULL' END), ', ' ORDER BY nth) FROM unnest(called) WITH ORDINALITY AS u (c, nth)), v.id_column);
    IF v.key_column <> v.id_column THEN
        EXECUTE format('ALTER TABLE casq.%I ADD UNIQUE (%I) DEFERRABLE', 'image_' || v.kind, v.key_column);
    END IF;
    EXECUTE format('ALTER TABLE casq.%I OWNER TO %s', 'image_' || v.kind, casq.owner()::regrole);
    RETURN format('casq.%I', 'image_' || v.kind)::regclass;
END $function$;

CREATE OR REPLACE FUNCTION casq.put_log_function(t casq.tracked)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    s casq.track_sql := casq.track_sql(t);
    unpaired casq.tracked := t;
    retyped text;
    body text;
    owner text := (SELECT rolname FROM pg_roles WHERE oid = casq.owner());
BEGIN
    unpaired.id_column := NULL;
    SELECT string_agg(DISTINCT format('pg_typeof(r.%I) <> %L::regtype', a.attname, format_type(a.atttypid, NULL)), ' OR ') INTO retyped
    FROM unnest(casq.read_columns(t)) AS called
    CROSS JOIN LATERAL casq.tracked_column(t, called) AS a;
    body := format($body$
DECLARE
    stale boolean;
    retyped boolean;
BEGIN
    BEGIN
        stale := TG_RELID <> %1$L::regclass
            AND pg_partition_root(TG_RELID) IS DISTINCT FROM %1$L::regclass;
        IF TG_OP = 'INSERT' THEN
            SELECT %2$s INTO retyped FROM casq_new AS r LIMIT 1;
        ELSE
            SELECT %2$s INTO retyped FROM casq_old AS r LIMIT 1;
        END IF;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        stale := stale OR retyped;
        IF EXISTS (SELECT FROM pg_class AS c WHERE %7$s
                   AND (NOT pg_has_role(c.relowner, current_user, 'USAGE')
                        OR c.xmax <> '0' AND current_setting('transaction_isolation') <> 'read committed' AND casq.is_superseded(c.xmax))) THEN
            PERFORM casq.check_trusted(TG_RELID), casq.check_trusted(%1$L::regclass);
        END IF;
    EXCEPTION WHEN invalid_schema_name OR undefined_table OR undefined_column OR undefined_object THEN
        stale := true;
    END;
    IF stale THEN
        EXECUTE coalesce(casq.log_statement(%3$L, TG_OP), 'SELECT');
    ELSIF TG_OP = 'INSERT' THEN %4$s;
    ELSIF TG_OP = 'UPDATE' THEN %5$s;
    ELSE %6$s;
    END IF;
    RETURN NULL;
END $body$, s.root, retyped, t.kind, casq.log_statement(t, 'INSERT'),
        -- Rows are paired only where one has another key than before.
        CASE WHEN s.id IS NULL THEN casq.log_statement(t, 'UPDATE')
             ELSE format('IF NOT EXISTS (SELECT %1$s, %2$s FROM casq_new AS r EXCEPT SELECT %1$s, %2$s FROM casq_old AS r) THEN %3$s; ELSE %4$s; END IF',
                 s.key, s.id, casq.log_statement(unpaired, 'UPDATE'), casq.log_statement(t, 'UPDATE')) END,
        casq.log_statement(t, 'DELETE'),
        -- Partitions of one owner change hands together with the table: ALTER TABLE is
        -- refused by the event trigger, and REASSIGN OWNED, which fires none, takes all.
        -- To ask for each partition takes 4 ms a statement where there are 100.
        format(CASE WHEN (SELECT count(DISTINCT c.relowner) FROM casq.members(t.relation) AS m JOIN pg_class AS c ON c.oid = m) > 1
               THEN 'c.oid IN (SELECT TG_RELID UNION SELECT p.relid FROM pg_partition_tree(%L) AS p)'
               ELSE 'c.oid IN (TG_RELID, %L::regclass)' END, s.root));
    IF EXISTS (SELECT FROM pg_proc WHERE proname = 'log_' || t.kind AND prosrc = body
                                     AND pronamespace = 'casq'::regnamespace) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION casq.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER'
        ' SET search_path = pg_catalog, pg_temp SET row_security = off SET enable_seqscan = off SET jit = off'
        ' SET timezone = ''UTC'' SET datestyle = ''ISO'' SET intervalstyle = ''postgres'' SET bytea_output = ''hex'''
        ' SET extra_float_digits = 1 SET lc_monetary = ''C'' AS %L',
        'log_' || t.kind, body);
    -- Else a role could put this function on a table of its own and forge events.
    EXECUTE format('REVOKE ALL ON FUNCTION casq.%I() FROM PUBLIC', 'log_' || t.kind);
    IF current_user <> owner THEN
        EXECUTE format('ALTER FUNCTION casq.%I() OWNER TO %I', 'log_' || t.kind, owner);
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.put_note_function(s casq.sources)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    c record;
    retyped text;
    body text;
    owner text := (SELECT rolname FROM pg_roles WHERE oid = casq.owner());
BEGIN
    SELECT * INTO c FROM casq.source_columns(s);
    SELECT string_agg(format('pg_typeof(r.%I) <> %L::regtype', a.attname, format_type(a.atttypid, NULL)), ' OR ' ORDER BY a.attnum) INTO retyped
    FROM pg_attribute AS a WHERE a.attrelid = s.relation AND a.attname = ANY (c.told_by) AND a.attnum > 0;
    -- A column may be called as a variable of plpgsql is: found, tg_op, new.
    body := format(CASE WHEN c.missing IS NOT NULL THEN $body$
BEGIN
    INSERT INTO casq.source_changes (source) VALUES (%1$s);
    RETURN NULL;
END $body$ ELSE $body$
#variable_conflict use_column
DECLARE
    casq_stale boolean := TG_OP = 'TRUNCATE';
BEGIN
    IF NOT casq_stale THEN
        BEGIN
            IF TG_OP = 'INSERT' THEN
                SELECT %2$s INTO casq_stale FROM casq_new AS r LIMIT 1;
            ELSE
                SELECT %2$s INTO casq_stale FROM casq_old AS r LIMIT 1;
            END IF;
            IF NOT FOUND THEN
                RETURN NULL;
            END IF;
        EXCEPTION WHEN invalid_schema_name OR undefined_table OR undefined_column OR undefined_object THEN
            casq_stale := true;
        END;
    END IF;
    IF casq_stale THEN
        INSERT INTO casq.source_changes (source) VALUES (%1$s);
    ELSIF TG_OP = 'INSERT' THEN %3$s;
    ELSIF TG_OP = 'UPDATE' THEN %4$s;
    ELSE %5$s;
    END IF;
    RETURN NULL;
END $body$ END, s.id, retyped, casq.note_statement(s, 'INSERT'), casq.note_statement(s, 'UPDATE'), casq.note_statement(s, 'DELETE'));
    IF EXISTS (SELECT FROM pg_proc WHERE proname = 'note_' || s.id AND prosrc = body AND pronamespace = 'casq'::regnamespace) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION casq.note_%s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER'
        ' SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off'
        ' SET timezone = ''UTC'' SET datestyle = ''ISO'' SET intervalstyle = ''postgres'' SET bytea_output = ''hex'''
        ' SET extra_float_digits = 1 SET lc_monetary = ''C'' AS %L', s.id, body);
    EXECUTE format('REVOKE ALL ON FUNCTION casq.note_%s() FROM PUBLIC', s.id);
    IF current_user <> owner THEN
        EXECUTE format('ALTER FUNCTION casq.note_%s() OWNER TO %I', s.id, owner);
    END IF;
    RETURN true;
END $function$;

CREATE OR REPLACE FUNCTION casq.put_off_ids(kind text, ids text[])
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    INSERT INTO casq.view_ids AS p (kind, id) SELECT DISTINCT put_off_ids.kind, i.id FROM unnest(ids) AS i (id)
    ON CONFLICT ON CONSTRAINT view_ids_pkey DO UPDATE SET due_at = clock_timestamp()
$function$;

CREATE OR REPLACE FUNCTION casq.put_sources(v casq.views, names_in text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    s casq.sources;
    called text;
    query text;
    named regclass;
    found_sources regclass[] := '{}';
    kept text := current_setting('search_path');
BEGIN
    FOR called, query IN SELECT * FROM jsonb_each_text(v.sources) ORDER BY key LOOP
        PERFORM set_config('search_path', names_in, true);
        named := to_regclass(called);
        IF named IS NULL THEN -- "user" is a name that needs its quotes
            named := to_regclass(quote_ident(called));
        END IF;
        PERFORM set_config('search_path', kept, true);
        IF named IS NULL THEN
            RAISE EXCEPTION 'casq: there is no table %, of which view % should be made', quote_literal(called), v.view
                USING ERRCODE = 'undefined_table', HINT = 'Is it in the search_path? Or name its schema.';
        ELSIF named = ANY (found_sources) THEN
            RAISE EXCEPTION 'casq: % is named twice', named USING ERRCODE = 'duplicate_object';
        END IF;
        found_sources := found_sources || named;
        PERFORM casq.check_source(named);
        INSERT INTO casq.sources AS x (relation, name) VALUES (named, casq.full_name(named))
        ON CONFLICT ON CONSTRAINT sources_relation_key DO NOTHING;
        SELECT * INTO s FROM casq.sources AS x WHERE x.relation = named;
        PERFORM casq.put_ids(v, s, query, names_in);
    END LOOP;
    PERFORM casq.lock_sources(found_sources, 'SHARE ROW EXCLUSIVE');
    PERFORM casq.align_source(p.source) FROM casq.view_sources AS p WHERE p.kind = v.kind;
END $function$;

CREATE OR REPLACE FUNCTION casq.put_triggers(kind text, relation regclass)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    names text[] := casq.trigger_names(kind);
    name text;
BEGIN
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS casq_new'
        ' FOR EACH STATEMENT EXECUTE FUNCTION casq.%I()', names[1], relation, 'log_' || kind);
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER UPDATE ON %s REFERENCING OLD TABLE AS casq_old NEW TABLE AS casq_new'
        ' FOR EACH STATEMENT EXECUTE FUNCTION casq.%I()', names[2], relation, 'log_' || kind);
    EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER DELETE ON %s REFERENCING OLD TABLE AS casq_old'
        ' FOR EACH STATEMENT EXECUTE FUNCTION casq.%I()', names[3], relation, 'log_' || kind);
    EXECUTE format('CREATE OR REPLACE TRIGGER %I BEFORE TRUNCATE ON %s'
        ' FOR EACH STATEMENT EXECUTE FUNCTION casq.refuse_truncate()', names[4], relation);
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relispartition AND c.relkind = 'r') THEN
        -- After a MERGE into a partitioned table has inserted a row, Postgres 15
        -- shows that row as the new image of all that it updates then, unless
        -- the row's partition has a BEFORE INSERT trigger. This one never runs.
        EXECUTE format('CREATE OR REPLACE TRIGGER %I BEFORE INSERT ON %s'
            ' FOR EACH ROW WHEN (false) EXECUTE FUNCTION casq.leave_row()', names[5], relation);
    END IF;
    FOR name IN SELECT g.tgname FROM pg_trigger AS g WHERE g.tgrelid = relation AND g.tgname = ANY (names) LOOP
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', relation, name);
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.queue_build(build bigint)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    UPDATE casq.builds AS b SET status = 'pending', held = p.max_running IS NOT NULL
    FROM casq.projects AS p WHERE b.id = build AND p.id = b.project_id AND b.status = 'created'
$function$;

CREATE OR REPLACE FUNCTION casq.read_columns(t casq.tracked)
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT t.payload_columns || array_remove(ARRAY[t.key_column, t.id_column, t.scope_column, t.size_column], NULL)
$function$;

CREATE OR REPLACE FUNCTION casq.readable()
 RETURNS TABLE(privilege text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN bool_or(t.hidden)
                THEN format('SELECT (%s) ON casq.%I', string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum) FILTER (WHERE NOT t.hidden), t.relname)
                ELSE format('SELECT ON casq.%I', t.relname) END
    FROM (
        SELECT c.relname, a.attname, a.attnum, (c.relname, a.attname) IN (
                   ('builds', 'job'), ('builds', 'token_hash'), ('runners', 'token_hash'), ('build_trace_chunks', 'bytes')) AS hidden
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'casq'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped
    ) AS t
    GROUP BY t.relname
$function$;

CREATE OR REPLACE FUNCTION casq.record_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    asked constant jsonb := current_setting('casq.asked');
    what constant text := CASE WHEN TG_ARGV[0] = 'rows' THEN TG_TABLE_NAME ELSE TG_TABLE_NAME || ' statements' END;
    n bigint := 1;
BEGIN
    IF TG_ARGV[0] = 'rows' THEN
        SELECT count(*) INTO n FROM casq_changed;
    END IF;
    IF n = 0 THEN
        RETURN NULL;
    END IF;
    INSERT INTO casq.audit AS a (id, actor, via, origin, action, touches, changed)
    VALUES ((asked ->> 'id')::uuid, left(asked ->> 'actor', 200), left(asked ->> 'via', 20), left(asked ->> 'origin', 200),
            left(asked ->> 'action', 1000), (asked ->> 'touches')::bigint, jsonb_build_object(what, n))
    ON CONFLICT ON CONSTRAINT audit_pkey DO UPDATE
    SET changed_at = clock_timestamp(),
        changed = a.changed || jsonb_build_object(what, coalesce((a.changed ->> what)::bigint, 0) + n)
    WHERE a.role = session_user OR has_table_privilege(session_user, 'casq.audit', 'UPDATE');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: request % is another role''s', asked ->> 'id' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.refresh_ids(v casq.views, ids text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    half integer := cardinality(ids) / 2;
BEGIN
    BEGIN
        PERFORM casq.change_image(v, ids);
        RETURN;
    EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded OR feature_not_supported OR raise_exception THEN
        IF cardinality(ids) = 1 THEN
            PERFORM casq.fail_id(v.kind, ids[1], NULL, SQLERRM);
            RETURN;
        END IF;
    END;
    PERFORM casq.refresh_ids(v, ids[:half]), casq.refresh_ids(v, ids[half + 1:]);
END $function$;

CREATE OR REPLACE FUNCTION casq.refuse_event_update()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'casq: events are only inserted, an update would be seen by nobody'
        USING ERRCODE = 'feature_not_supported',
              HINT = 'Append a new event with casq.append_event.';
END $function$;

CREATE OR REPLACE FUNCTION casq.refuse_key(kind text, key text)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'casq: kind %: a key has 1 to 1024 bytes, this one has %', kind, octet_length(key)
        USING ERRCODE = 'check_violation', DETAIL = format('The key begins with %L.', left(key, 64));
END $function$;

CREATE OR REPLACE FUNCTION casq.refuse_scope(kind text, scope text, items bigint)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF items <= 0 THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'casq: kind %: a scope has at most 1024 bytes, this one has %', kind, octet_length(scope)
        USING ERRCODE = 'check_violation', DETAIL = format('The scope begins with %L.', left(scope, 64));
END $function$;

CREATE OR REPLACE FUNCTION casq.refuse_size(kind text, key text, size numeric)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'casq: kind %: size % does not fit into bigint', kind, size
        USING ERRCODE = 'numeric_value_out_of_range', DETAIL = format('The key begins with %L.', left(key, 64));
END $function$;

CREATE OR REPLACE FUNCTION casq.refuse_taken(kinds text[], ids text[], claims uuid[], most double precision)
 RETURNS TABLE(claim uuid, removal boolean, why text, seconds double precision)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET jit TO 'off'
AS $function$
BEGIN
    IF EXISTS (SELECT FROM casq.neighbours AS n WHERE n.kind = ANY (kinds)) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('casq.places', 0));
    ELSE
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('casq.places', 0));
    END IF;
    IF NOT EXISTS (SELECT FROM casq.neighbours AS n WHERE n.kind = ANY (kinds)) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH taken AS (
        SELECT DISTINCT ON (r.kind, r.resource_id) r.kind, r.resource_id, r.claim, r.deleted_at IS NULL AS wanted, h.kind AS holder,
               format('its place is that of %s %s, and kinds %s and %s share a tree', h.kind, to_json(h.resource_id), r.kind, h.kind) AS why,
               least(r.attempts ^ 4, most) AS seconds
        FROM unnest(kinds, ids) AS w (kind, resource_id)
        CROSS JOIN LATERAL (
            SELECT * FROM casq.registry AS r
            WHERE r.kind = w.kind AND r.resource_id = w.resource_id AND r.claim = ANY (claims) AND r.size IS NULL
            LIMIT 1
        ) AS r
        CROSS JOIN LATERAL casq.place_holders(r.kind, r.resource_id) AS h
        WHERE EXISTS (SELECT FROM casq.neighbours AS n WHERE n.kind = w.kind)
          AND (h.size IS NOT NULL OR h.claim <> ALL (claims) OR (h.kind, h.resource_id) < (r.kind, r.resource_id))
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
    RETURNING t.claim, NOT t.wanted, t.why, t.seconds;
END $function$;

CREATE OR REPLACE FUNCTION casq.refuse_truncate()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION 'casq: % is tracked, TRUNCATE would remove its rows without an event', TG_RELID::regclass
        USING ERRCODE = 'feature_not_supported',
              HINT = 'DELETE FROM the table, or SELECT casq.untrack(...) first.';
END $function$;

CREATE OR REPLACE FUNCTION casq.release_builds()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.renew_source(s casq.sources)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF casq.put_note_function(s) THEN
        UPDATE casq.views AS v SET compare_asked_at = clock_timestamp(), renewed = true
        FROM casq.view_sources AS p WHERE p.source = s.id AND v.kind = p.kind;
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.replace_target(transfer text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM casq.targets AS t WHERE t.transfer = replace_target.transfer;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this site has no target of transfer %', coalesce(quote_literal(transfer), 'NULL')
            USING HINT = 'SELECT * FROM casq.targets';
    END IF;
    INSERT INTO casq.reconcile_runs (reason, walk, lost_since) VALUES ('asked', true, 'epoch');
END
$function$;

CREATE OR REPLACE FUNCTION casq.replaced()
 RETURNS TABLE(kind text, by regclass, said text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT t.kind, n.by, format('casq: %s is another table now, and kind %s still follows the one that it was, %s;'
        ' SELECT casq.untrack(%L), and casq.track(...) with the new one, or casq.track(...) with the old one again if that is meant',
        n.by, t.kind, t.relation, t.relation)
    FROM casq.tracked AS t
    JOIN pg_class AS c ON c.oid = t.relation
    CROSS JOIN LATERAL (SELECT to_regclass(t.name) AS by) AS n
    WHERE n.by <> t.relation
    ORDER BY t.kind
$function$;

CREATE OR REPLACE FUNCTION casq.replication_lag(kind text)
 RETURNS SETOF casq.replication_lags
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT * FROM casq.replication_lags AS l WHERE l.kind = replication_lag.kind
$function$;

CREATE OR REPLACE FUNCTION casq.report_follower(name text, tick bigint, nonce uuid, resources bigint DEFAULT NULL::bigint, bytes numeric DEFAULT NULL::numeric)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM casq.followers AS f WHERE f.name = report_follower.name)
        AND (SELECT count(*) FROM casq.followers) >= 1000
    THEN
        RAISE EXCEPTION 'casq: 1000 followers have reported here, % would be one more', quote_literal(report_follower.name)
            USING ERRCODE = 'configuration_limit_exceeded',
                  HINT = 'SELECT * FROM casq.followers; those that do not come back: SELECT casq.forget_follower(''...'').';
    END IF;
    INSERT INTO casq.followers AS f (name, tick, nonce, resources, bytes)
    VALUES (report_follower.name, report_follower.tick, report_follower.nonce, report_follower.resources, report_follower.bytes)
    ON CONFLICT ON CONSTRAINT followers_pkey DO UPDATE
    SET tick = excluded.tick, nonce = excluded.nonce, reported_at = excluded.reported_at, resources = excluded.resources, bytes = excluded.bytes;
    RETURN EXISTS (SELECT FROM casq.ticks AS t
                   WHERE t.id = report_follower.tick AND t.nonce = report_follower.nonce);
END $function$;

CREATE OR REPLACE FUNCTION casq.reset_runner_token(runner bigint)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.resources(kind text, after text, page_size integer, selected text[], most_bytes bigint DEFAULT 4194304, OUT listed boolean, OUT keys text[], OUT payloads text[], OUT scopes text[], OUT last_key text, OUT timeline integer, OUT timeline_id uuid, OUT tick bigint)
 RETURNS record
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET jit TO 'off'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO'
 SET "IntervalStyle" TO 'postgres'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET lc_monetary TO 'C'
AS $function$
DECLARE
    t casq.tracked;
    s casq.track_sql;
    k record;
    w record;
    bytes bigint := 0;
BEGIN
    SELECT n.timeline, n.timeline_id, n.tick INTO timeline, timeline_id, tick FROM casq.newest_tick() AS n;
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = resources.kind;
    listed := FOUND AND casq.is_filled(kind) OR selected IS NOT DISTINCT FROM '{}';
    IF NOT listed OR selected = '{}' THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t, s);
    FOR w IN EXECUTE format('SELECT w.key, w.scope, w.wanted, CASE WHEN w.wanted THEN w.payload END AS payload'
        ' FROM (SELECT %s::text AS key, (%s)::text AS payload, %s AS scope, coalesce(%s, false) AS wanted FROM %s AS r WHERE %s ORDER BY %s LIMIT $2) AS w',
        s.key, s.payload, s.scope, casq.scope_condition(t, s, selected, '$3'), s.root,
        CASE WHEN after IS NULL THEN 'true' ELSE k.beyond END, k.ordered)
    USING after, page_size, selected LOOP
        last_key := w.key;
        CONTINUE WHEN NOT w.wanted;
        keys := array_append(keys, w.key);
        payloads := array_append(payloads, w.payload);
        scopes := array_append(scopes, w.scope);
        bytes := bytes + octet_length(w.key) + octet_length(w.payload);
        EXIT WHEN bytes >= most_bytes;
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.resources_missing(kind text, asked text[], selected text[], OUT listed boolean, OUT keys text[], OUT timeline integer, OUT timeline_id uuid, OUT tick bigint)
 RETURNS record
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
AS $function$
DECLARE
    t casq.tracked;
    s casq.track_sql;
    k record;
BEGIN
    SELECT n.timeline, n.timeline_id, n.tick INTO timeline, timeline_id, tick FROM casq.newest_tick() AS n;
    IF selected = '{}' THEN
        listed := true;
        keys := asked;
        RETURN;
    END IF;
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = resources_missing.kind;
    listed := FOUND AND casq.is_filled(kind);
    IF NOT listed THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t, s);
    EXECUTE format('SELECT array_agg(w.key) FROM unnest($1) AS w (key)'
        ' CROSS JOIN LATERAL (SELECT %s AS key) AS c'
        ' LEFT JOIN LATERAL (SELECT %s AS wanted FROM %s AS r WHERE %s LIMIT 1) AS found ON true'
        ' WHERE found.wanted IS NOT TRUE',
        k.typed, casq.scope_condition(t, s, selected, '$2'), s.root, k.present)
    INTO keys USING asked, selected;
END $function$;

CREATE OR REPLACE FUNCTION casq.resources_of(kind text, asked text[], selected text[], most_bytes bigint DEFAULT 4194304, OUT listed boolean, OUT keys text[], OUT payloads text[], OUT scopes text[], OUT answered integer, OUT timeline integer, OUT timeline_id uuid, OUT tick bigint)
 RETURNS record
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO'
 SET "IntervalStyle" TO 'postgres'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET lc_monetary TO 'C'
AS $function$
DECLARE
    t casq.tracked;
    s casq.track_sql;
    k record;
    w record;
    bytes bigint := 0;
BEGIN
    SELECT n.timeline, n.timeline_id, n.tick INTO timeline, timeline_id, tick FROM casq.newest_tick() AS n;
    answered := coalesce(cardinality(asked), 0);
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = resources_of.kind;
    listed := FOUND AND casq.is_filled(kind) OR selected IS NOT DISTINCT FROM '{}';
    IF NOT listed OR selected = '{}' THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t, s);
    -- LIMIT keeps the planner from turning the look-ups into a join over all: they are
    -- made key by key, in the order of the keys.
    FOR w IN EXECUTE format('SELECT w.n, w.key, found.payload, found.scope FROM unnest($1) WITH ORDINALITY AS w (key, n)'
        ' CROSS JOIN LATERAL (SELECT %s AS key) AS c'
        ' CROSS JOIN LATERAL (SELECT (%s)::text AS payload, %s AS scope, %s AS wanted FROM %s AS r WHERE %s LIMIT 1) AS found'
        ' WHERE found.wanted',
        k.typed, s.payload, s.scope, casq.scope_condition(t, s, selected, '$2'), s.root, k.present)
    USING asked, selected LOOP
        keys := array_append(keys, w.key);
        payloads := array_append(payloads, w.payload);
        scopes := array_append(scopes, w.scope);
        bytes := bytes + octet_length(w.key) + octet_length(w.payload);
        IF bytes >= most_bytes THEN
            answered := w.n;
            EXIT;
        END IF;
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION casq.retry_build(build bigint)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.revoke_from(role regrole, what text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    g record;
BEGIN
    DELETE FROM casq.grants AS t USING pg_roles AS r
    WHERE r.oid = revoke_from.role AND t.role = r.rolname AND t.what = revoke_from.what;
    IF FOUND THEN
        FOR g IN SELECT p.privilege FROM casq.privileges() AS p WHERE p.what = revoke_from.what LOOP
            EXECUTE format('REVOKE %s FROM %s', g.privilege, revoke_from.role);
        END LOOP;
        PERFORM casq.grant_again();
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.scope_condition(t casq.tracked, s casq.track_sql, selected text[], argument text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF selected IS NULL THEN
        RETURN 'true';
    ELSIF selected = '{}' THEN
        RETURN 'false';
    ELSIF t.scope_column IS NULL THEN
        RAISE EXCEPTION 'casq: kind % is selected by scope, and its table % has no scope column any more', quote_literal(t.kind), t.relation
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Track the table again with scope_column => ''...'', or select all or none of the kind (enqueue select).';
    END IF;
    RETURN format('%s = ANY (%s)', s.scope, argument);
END $function$;

CREATE OR REPLACE FUNCTION casq.scope_group(kind text)
 RETURNS casq.scope_groups
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    g casq.scope_groups;
    c pg_class;
BEGIN
    SELECT * INTO g FROM casq.scope_groups AS k WHERE k.kind = scope_group.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: scopes of kind % are not grouped', coalesce(quote_literal(scope_group.kind), 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = 'SELECT casq.group_scopes(kind, parents => ..., scope_column => ..., parent_column => ...) says which table has their parents. Grouped kinds: '
                      || coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.scope_groups AS k), 'none') || '.';
    END IF;
    PERFORM casq.check_trusted(to_regclass(g.parents));
    SELECT * INTO c FROM pg_class WHERE oid = to_regclass(g.parents);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: there is no %, which scopes of kind % are grouped by', g.parents, g.kind
            USING ERRCODE = 'undefined_table',
                  HINT = format('SELECT casq.group_scopes(%L, ...) with a table that exists, or SELECT casq.ungroup_scopes(%1$L).', g.kind);
    ELSIF c.relkind NOT IN ('r', 'p', 'v', 'm', 'f') OR c.relpersistence = 't' THEN
        RAISE EXCEPTION 'casq: % is no table or view that everybody sees', g.parents
            USING ERRCODE = 'wrong_object_type', HINT = 'Group by a table or view that is not temporary.';
    ELSIF c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = casq.owner() AND (rolsuper OR rolbypassrls))
        AND (c.relforcerowsecurity OR NOT pg_has_role(casq.owner(), c.relowner, 'USAGE'))
    THEN
        RAISE EXCEPTION 'casq: row security would hide rows of % from the owner of the schema casq, %', g.parents, casq.owner()::regrole
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('ALTER ROLE %s BYPASSRLS.', casq.owner()::regrole);
    END IF;
    RETURN g;
END $function$;

CREATE OR REPLACE FUNCTION casq.scopes_of(kind text, parent text)
 RETURNS SETOF text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
BEGIN
    IF casq.can_be_parent(scopes_of.kind, scopes_of.parent) THEN
        RETURN QUERY EXECUTE format('SELECT m.scope::text FROM (%s) AS m', casq.group_sql(scopes_of.kind, true))
            USING scopes_of.kind, scopes_of.parent;
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.selected(kind text, scope_id text)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce((
        SELECT s.scopes IS NULL OR coalesce(selected.scope_id = ANY (s.scopes), false)
        FROM casq.selections AS s WHERE s.kind = selected.kind), true)
$function$;

CREATE OR REPLACE FUNCTION casq.shape(t casq.tracked)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT md5(string_agg(format('%s.%s %s', a.attrelid, a.attnum, a.xmin), ' ' ORDER BY a.attrelid, a.attnum))
    FROM casq.members(t.relation) AS m JOIN pg_attribute AS a ON a.attrelid = m
    WHERE a.attname = ANY (casq.read_columns(t))
$function$;

CREATE OR REPLACE FUNCTION casq.signal_builds(subject text, payload jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    -- The transaction id comes before the event id: see casq.ticks.low_id.
    PERFORM pg_current_xact_id();
    INSERT INTO casq.events (kind, resource_id, op, payload) VALUES ('casq:builds', subject, 'updated', payload);
END $function$;

CREATE OR REPLACE FUNCTION casq.signal_freed_runner()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF EXISTS (SELECT FROM casq.runners AS r WHERE r.id = OLD.runner_id AND r.max_running IS NOT NULL) THEN
        PERFORM casq.signal_builds('runner ' || OLD.runner_id, jsonb_build_object('runner', OLD.runner_id));
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.signal_inserted_builds()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM casq.signal_builds(min(b.id)::text,
            jsonb_build_object('tag_set', b.tag_set, 'project', b.project_id, 'builds', count(*)))
    FROM inserted AS b WHERE b.in_queue
    GROUP BY b.tag_set, b.project_id;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.signal_queued_build()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM casq.signal_builds(NEW.id::text,
        jsonb_build_object('tag_set', NEW.tag_set, 'project', NEW.project_id, 'builds', 1));
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.signal_runner()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    runner bigint := CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END;
BEGIN
    PERFORM casq.signal_builds('runner ' || runner, jsonb_build_object('runner', runner));
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION casq.sort_tags(tags text[])
 RETURNS text[]
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF EXISTS (SELECT FROM unnest(tags) AS t (tag) WHERE tag IS NULL OR octet_length(tag) NOT BETWEEN 1 AND 255 OR tag ~ '[[:cntrl:],]' OR tag <> btrim(tag))
        OR cardinality(tags) > 50
    THEN
        RAISE EXCEPTION 'casq: these tags cannot be: %', left(tags::text, 200)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'At most 50 tags, each of 1 to 255 bytes, without commas, control characters, or blanks at its ends.';
    END IF;
    RETURN ARRAY(SELECT DISTINCT tag COLLATE "C" FROM unnest(tags) AS t (tag) ORDER BY 1);
END $function$;

CREATE OR REPLACE FUNCTION casq.source_columns(s casq.sources, OUT noted text[], OUT told_by text[], OUT any_column boolean, OUT missing text)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v record;
    names text[];
BEGIN
    noted := '{}';
    told_by := '{}';
    any_column := false;
    FOR v IN SELECT w.view, p.ids, p.changed FROM casq.view_sources AS p JOIN casq.views AS w USING (kind) WHERE p.source = s.id ORDER BY p.kind LOOP
        names := coalesce(casq.columns_named(v.ids, v.changed),
                          ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = v.changed AND a.attnum > 0));
        noted := noted || names;
        missing := coalesce(missing, (
            SELECT c.attname FROM pg_attribute AS c
            LEFT JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = c.attname AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.attrelid = v.changed AND c.attname = ANY (names) AND casq.base_type(a.atttypid) IS DISTINCT FROM c.atttypid
            ORDER BY c.attname LIMIT 1));
        names := casq.columns_named(v.view, s.relation, functions => true);
        any_column := any_column OR names IS NULL;
        told_by := told_by || names;
    END LOOP;
    noted := ARRAY(SELECT DISTINCT c FROM unnest(noted) AS c ORDER BY c);
    told_by := ARRAY(SELECT DISTINCT c FROM unnest(noted || told_by) AS c ORDER BY c);
END $function$;

CREATE OR REPLACE FUNCTION casq.source_problem(s casq.sources)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    c record;
    kinds text := (SELECT string_agg(p.kind, ', ' ORDER BY p.kind) FROM casq.view_sources AS p WHERE p.source = s.id);
    again text := format('SELECT casq.track_view(...) again for %s', kinds);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class AS t WHERE t.oid = s.relation) THEN
        RETURN format('table %s, of which tracked views are made, is gone; SELECT casq.untrack(kind => ...) for %s', s.name, kinds);
    ELSIF to_regclass(s.name) <> s.relation THEN
        RETURN format('%s is another table now than the one that tracked views are made of, %s; SELECT casq.untrack(kind => ...) for %s, then track', s.name, s.relation, kinds);
    ELSIF (SELECT count(*) FROM pg_trigger AS g JOIN pg_proc AS f ON f.oid = g.tgfoid AND f.proname = 'note_' || s.id
           WHERE g.tgrelid = s.relation AND g.tgname LIKE 'casq\_note\_%' AND g.tgenabled = 'A') < 4 THEN
        RETURN format('triggers of %s that note its changes are disabled, or gone; %s', s.name, again);
    END IF;
    PERFORM casq.check_source(s.relation);
    SELECT * INTO c FROM casq.source_columns(s);
    IF c.missing IS NOT NULL THEN
        RETURN format('column %s of %s is not what the queries of its views were made for, each change has all compared; untrack, and track, %s', quote_ident(c.missing), s.name, kinds);
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $function$;

CREATE OR REPLACE FUNCTION casq.status_of(state text, deleted boolean, claimed boolean)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT CASE WHEN claimed AND state NOT IN ('synced', 'removed', 'absent')
                THEN CASE WHEN deleted THEN 'removing' ELSE 'started' END
                ELSE state END
$function$;

CREATE OR REPLACE FUNCTION casq.sum_beyond(kind text, after_scope text, most integer)
 RETURNS TABLE(scope_id text, size numeric, items bigint)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
DECLARE
    t casq.tracked := casq.tracked_kind(sum_beyond.kind);
    scope_column pg_attribute := casq.tracked_column(t, t.scope_column);
    col text := format('r.%I', scope_column.attname);
    type text := format_type(casq.base_type(scope_column.atttypid), -1);
    size text := '0::numeric';
    scope text := col;
    ordered text := col;
    first text := col || ' IS NOT NULL';
    wanted text;
    upto text;
    without text := '';
BEGIN
    PERFORM casq.check_trusted(t.relation);
    -- The empty text is beyond rows without a scope, and no value of most types.
    IF after_scope IS NOT NULL AND (after_scope <> '' OR scope_column.attcollation <> 0) THEN
        first := format('%s > $1::%s', col, type);
    END IF;
    EXECUTE format(
        'WITH RECURSIVE s AS ('
        '    (SELECT %1$s AS v FROM %2$s AS r WHERE %3$s ORDER BY %1$s LIMIT 1)'
        '    UNION ALL'
        '    SELECT (SELECT %1$s FROM %2$s AS r WHERE %1$s > s.v ORDER BY %1$s LIMIT 1) FROM s WHERE s.v IS NOT NULL)'
        'SELECT v::text FROM s WHERE v IS NOT NULL LIMIT 1 OFFSET $2 - 1',
        col, t.relation, first)
    INTO upto USING after_scope, most;
    wanted := first;
    IF upto IS NOT NULL THEN
        wanted := format('%s AND %s <= $2::%s', first, col, type);
    END IF;
    IF scope_column.attcollation <> 0 THEN
        scope := format('coalesce(%s::text COLLATE "C", '''')', scope);
        ordered := format('min(%s)', col);
    END IF;
    IF t.size_column IS NOT NULL THEN
        size := format('coalesce(sum(r.%I), 0)::numeric', (casq.tracked_column(t, t.size_column)).attname);
    END IF;
    IF after_scope IS NULL THEN
        without := format(' OR %s IS NULL', col);
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT coalesce((%1$s)::text, ''''), %2$s, count(*) FROM %3$s AS r WHERE %4$s%6$s GROUP BY %1$s ORDER BY %5$s NULLS FIRST',
        scope, size, t.relation, wanted, ordered, without)
    USING after_scope, upto;
END $function$;

CREATE OR REPLACE FUNCTION casq.sum_by_scope(kind text, scopes text[])
 RETURNS TABLE(scope_id text, size numeric, items bigint)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
DECLARE
    t casq.tracked := casq.tracked_kind(sum_by_scope.kind);
    scope_column pg_attribute;
    size text := '0::numeric';
    scope text;
    wanted text := '';
    together text;
    type text;
    without boolean := '' = ANY (scopes); -- rows that have no scope
BEGIN
    PERFORM casq.check_trusted(t.relation);
    IF t.scope_column IS NULL THEN
        RAISE EXCEPTION 'casq: kind % has no scope column, there is nothing to count it by', quote_literal(t.kind)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Track the table again with scope_column => ''...''.';
    END IF;
    scope_column := casq.tracked_column(t, t.scope_column);
    scope := format('r.%I', scope_column.attname);
    IF scope_column.attcollation <> 0 THEN
        -- Scopes are told apart by bytes, whatever the collation says.
        scope := format('coalesce(%s::text COLLATE "C", '''')', scope);
    END IF;
    together := 'GROUP BY ' || scope;
    IF t.size_column IS NOT NULL THEN
        size := format('coalesce(sum(r.%I), 0)::numeric', (casq.tracked_column(t, t.size_column)).attname);
    END IF;
    IF scopes IS NOT NULL THEN
        type := format_type(casq.base_type(scope_column.atttypid), -1);
        scopes := casq.values_of(type, scopes);
        wanted := format('WHERE r.%I = ANY ($1::%s[])', scope_column.attname, type) || CASE WHEN without THEN format(' OR r.%I IS NULL', scope_column.attname) ELSE '' END;
    END IF;
    IF cardinality(scopes) = 1 AND NOT without AND casq.equal_is_same(scope_column, scopes[1]) THEN
        scope := '$1[1]';
        together := 'HAVING count(*) > 0';
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT coalesce(g.scope::text, ''''), g.size, g.items FROM (SELECT %1$s AS scope, %2$s AS size, count(*) AS items FROM %3$s AS r %4$s %5$s OFFSET 0) AS g',
        scope, size, t.relation, wanted, together) USING scopes;
END $function$;

CREATE OR REPLACE FUNCTION casq.tag_sets_within(tags text[], untagged boolean)
 RETURNS SETOF integer
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_indexscan TO 'off'
 SET enable_bitmapscan TO 'on'
AS $function$
BEGIN
    RETURN QUERY SELECT s.id FROM casq.tag_sets AS s
        WHERE s.tags && tag_sets_within.tags AND s.tags <@ tag_sets_within.tags;
    IF untagged THEN
        RETURN QUERY SELECT s.id FROM casq.tag_sets AS s WHERE s.tags = '{}';
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.text_form(type oid)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE
        WHEN b IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) THEN 'integer'
        WHEN b = 'uuid'::regtype THEN 'uuid'
        WHEN b IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN 'text'
    END
    FROM casq.base_type(type) AS b
$function$;

CREATE OR REPLACE FUNCTION casq.tick(force boolean DEFAULT false)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    last casq.ticks;
    newest casq.timelines;
    present pg_snapshot;
    present_lsn pg_lsn;
    high bigint;
    cluster bigint;
    line integer;
    begins boolean;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'casq: a tick is taken on the primary only, this server is a standby'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Point DATABASE_URL at the primary.';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: a tick needs READ COMMITTED, this transaction is %',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'An old snapshot would deliver events twice; call casq.tick() in a transaction of its own.';
    END IF;
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'casq: a tick needs a transaction of its own, this one has written already'
            USING ERRCODE = 'active_sql_transaction',
                  HINT = 'Call casq.tick() before anything else, or after COMMIT.';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('casq.tick', 0)) THEN
        RETURN NULL;
    END IF;

    SELECT * INTO last FROM casq.ticks ORDER BY id DESC LIMIT 1;
    present := pg_current_snapshot();
    present_lsn := pg_current_wal_insert_lsn();
    -- After the snapshot, and before this transaction gets its xid.
    high := casq.last_event_id();

    SELECT system_identifier INTO cluster FROM pg_control_system();
    -- pg_control_checkpoint() shows a promotion only after the next checkpoint.
    line := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
    SELECT * INTO newest FROM casq.timelines ORDER BY timeline DESC LIMIT 1;
    begins := newest.timeline IS NULL
        OR (newest.system_identifier, newest.server_timeline) IS DISTINCT FROM (cluster, line);

    -- Visible events of transactions to come can only be restored ones.
    IF pg_snapshot_xmin(present) < pg_snapshot_xmin(last.snapshot)
        OR pg_snapshot_xmax(present) < pg_snapshot_xmax(last.snapshot)
        OR (begins AND EXISTS (SELECT FROM casq.events WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())))
    THEN
        RAISE EXCEPTION 'casq: this server''s transaction ids lie below those of the log'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('The log was written by system %s, this is system %s.',
                                  newest.system_identifier, cluster),
                  HINT = 'A dump was restored into another cluster: SELECT casq.adopt_log() starts the log anew, then run enqueue backfill for each kind.';
    END IF;

    IF NOT (force OR begins OR last.id IS NULL
            OR abs(extract(epoch FROM clock_timestamp() - last.taken_at)) >= 10
            OR casq.events_between(last.snapshot, present))
    THEN
        RETURN NULL;
    END IF;

    -- A tick that was seen must not be lost by a crash of this server.
    PERFORM set_config('synchronous_commit', 'on', true);
    IF begins THEN
        INSERT INTO casq.timelines (timeline, system_identifier, server_timeline, began_tick, began_lsn)
        VALUES (coalesce(newest.timeline, 0) + 1, cluster, line, coalesce(last.id + 1, 0), present_lsn)
        RETURNING * INTO newest;
    END IF;
    IF last.id IS NULL THEN
        -- The first tick shows nothing: a reader that starts there reads all.
        INSERT INTO casq.ticks (id, timeline, snapshot, low_id, high_id, lsn)
        VALUES (0, newest.timeline, '1:1:', 0, 0, '0/0')
        RETURNING * INTO last;
    END IF;
    INSERT INTO casq.ticks (id, timeline, snapshot, low_id, high_id, lsn)
    VALUES (last.id + 1, newest.timeline, present, last.high_id, high, present_lsn);
    -- Once for all events of the step: whoever follows here need not wait for its next poll.
    -- A listener that never reads, of whatever program, fills the queue, and then a commit
    -- with a notice fails: ticks do without it.
    IF pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('casq_tick', '');
    END IF;
    RETURN last.id + 1;
END $function$;

CREATE OR REPLACE FUNCTION casq.told(value anyelement)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN to_jsonb(value);
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_jsonb(format('%s', value));
END $function$;

CREATE OR REPLACE FUNCTION casq.total(INOUT kind text, parent text, OUT parent_id text, OUT size numeric, OUT items bigint, OUT scopes bigint, OUT exact boolean, OUT as_of_tick bigint, OUT as_of timestamp with time zone)
 RETURNS SETOF record
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
BEGIN
    IF NOT casq.can_be_parent(kind, parent) THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format($sql$
        SELECT $1, $2, t.size, t.items, t.scopes, t.exact, a.tick, a.at
        FROM (
            SELECT coalesce(sum(c.size), 0) AS size, coalesce(sum(c.items), 0)::bigint AS items, count(*) AS scopes,
                   bool_and(coalesce(k.complete OR c.generation = k.generation, false)) AS exact
            FROM (%s) AS m
            LEFT JOIN casq.counters AS c ON c.kind = $1 AND c.scope_id = m.scope::text COLLATE "C"
            LEFT JOIN casq.counter_kinds AS k ON k.kind = $1
            HAVING count(*) > 0
        ) AS t
        CROSS JOIN (SELECT min(tick) AS tick, min(moved_at) AS at FROM casq.counter_shards HAVING count(*) > 0) AS a$sql$,
        casq.group_sql(kind, true)) USING kind, parent;
END $function$;

CREATE OR REPLACE FUNCTION casq.totals(INOUT kind text, OUT parent_id text, OUT size numeric, OUT items bigint, OUT scopes bigint, OUT exact boolean, OUT as_of_tick bigint, OUT as_of timestamp with time zone)
 RETURNS SETOF record
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
AS $function$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT $1, t.parent::text, t.size, t.items, t.scopes, t.exact, a.tick, a.at
        FROM (
            SELECT m.parent, coalesce(sum(s.size), 0) AS size, coalesce(sum(s.items), 0)::bigint AS items, count(*) AS scopes,
                   bool_and(coalesce(s.exact, (SELECT k.complete FROM casq.counter_kinds AS k WHERE k.kind = $1), false)) AS exact
            FROM (%s) AS m
            FULL JOIN (SELECT * FROM casq.statistics WHERE kind = $1) AS s ON s.scope_id = m.scope::text COLLATE "C"
            WHERE m.parent IS NOT NULL OR (s.size, s.items) <> (0, 0)
            GROUP BY m.parent
        ) AS t
        CROSS JOIN (SELECT min(tick) AS tick, min(moved_at) AS at FROM casq.counter_shards HAVING count(*) > 0) AS a$sql$,
        casq.group_sql(kind, false)) USING kind;
END $function$;

CREATE OR REPLACE FUNCTION casq.touch(kind text, key text)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET row_security TO 'off'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO'
 SET "IntervalStyle" TO 'postgres'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
 SET lc_monetary TO 'C'
 SET enable_seqscan TO 'off'
 SET jit TO 'off'
AS $function$
DECLARE
    t casq.tracked;
    s casq.track_sql;
    event_id bigint;
BEGIN
    PERFORM FROM casq.kinds AS k WHERE k.kind = touch.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: unknown kind %', coalesce(quote_literal(touch.kind), 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = format('Known kinds: %s.', coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.kinds AS k), 'none'));
    END IF;
    SELECT * INTO t FROM casq.tracked AS k WHERE k.kind = touch.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: kind % has no tracked table here, no row tells what its event has to say', quote_literal(touch.kind)
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Touch it in the database that has the table; without one, append an event by hand: casq.append_event.';
    END IF;
    s := casq.track_sql(t);
    EXECUTE format($sql$
        WITH present AS MATERIALIZED (
            SELECT %1$s AS key, %2$s AS scope, %3$s AS payload
            FROM (SELECT $1::text AS key) AS w
            CROSS JOIN LATERAL (SELECT %4$s AS key) AS c
            JOIN %5$s AS r ON %6$s
            FOR SHARE OF r
        ), logged AS (
            INSERT INTO casq.events (kind, resource_id, op, scope_id, payload)
            SELECT %7$L, %8$s, 'updated', c.scope, c.payload FROM present AS c
            RETURNING id
        )
        SELECT id FROM logged$sql$,
        s.key, s.scope, s.payload, (casq.key_sql(t, s)).typed, s.root, (casq.key_sql(t, s)).present, t.kind, s.resource_id)
    INTO event_id USING touch.key;
    IF event_id IS NULL THEN
        RAISE EXCEPTION 'casq: % has no row with the key %', t.relation, coalesce(quote_literal(left(touch.key, 1024)), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'Touch it after its row is there; keys are compared byte by byte.';
    END IF;
    RETURN event_id;
END $function$;

CREATE OR REPLACE FUNCTION casq.track(relation regclass, kind text, transfer text, key_column text, scope_column text DEFAULT NULL::text, size_column text DEFAULT NULL::text, payload_columns text[] DEFAULT '{}'::text[], queue text DEFAULT NULL::text, prefix text DEFAULT NULL::text, source_prefix text DEFAULT NULL::text, missing text DEFAULT NULL::text, quiet interval DEFAULT NULL::interval, probe interval DEFAULT NULL::interval, every_update boolean DEFAULT false, id_column text DEFAULT NULL::text)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    wanted casq.tracked;
    present casq.tracked;
    existing bigint;
    appeared boolean;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: track needs READ COMMITTED, an old snapshot misses rows'
            USING ERRCODE = 'invalid_transaction_state';
    ELSIF track.kind IS NULL OR track.kind !~ '^[a-z][a-z0-9_]{0,39}$' THEN
        RAISE EXCEPTION 'casq: % is no name for a kind', coalesce(quote_literal(track.kind), 'NULL')
            USING ERRCODE = 'invalid_name', HINT = 'A kind has 1 to 40 lower case letters, digits and _, a letter first.';
    ELSIF track.transfer IS NULL OR track.transfer NOT IN ('file', 'git', 'none') THEN
        RAISE EXCEPTION 'casq: unknown transfer %', coalesce(quote_literal(track.transfer), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Known transfers: file, git, none.';
    ELSIF track.key_column IS NULL THEN
        RAISE EXCEPTION 'casq: track needs a key_column' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    wanted.relation := track.relation;
    wanted.relation_oid := track.relation;
    wanted.kind := track.kind;
    wanted.key_column := track.key_column;
    wanted.id_column := track.id_column;
    wanted.scope_column := track.scope_column;
    wanted.size_column := track.size_column;
    wanted.every_update := coalesce(track.every_update, false);
    wanted.payload_columns := coalesce((SELECT array_agg(DISTINCT p ORDER BY p) FROM unnest(track.payload_columns) AS p), '{}');
    wanted.numbers := '{}';
    wanted.name := casq.full_name(track.relation);
    PERFORM casq.check_relation(track.relation), casq.check_columns(wanted);
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = track.relation)
        AND (SELECT count(*) FROM pg_event_trigger WHERE evtname IN ('casq_ddl', 'casq_drop', 'casq_rewrite') AND evtenabled = 'A') < 3
    THEN
        RAISE EXCEPTION 'casq: % is partitioned, and nothing here follows new, attached and detached partitions', track.relation
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'A superuser must run once in this database: SELECT casq.install_event_trigger();';
    END IF;

    -- The count may take long, so it comes before any lock.
    EXECUTE format('SELECT count(*) FROM %s', track.relation) INTO existing;
    PERFORM casq.define_kind(track.kind, track.transfer, track.queue, track.prefix, track.source_prefix, track.missing, track.quiet, track.probe);
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', track.relation);
    PERFORM casq.check_relation(track.relation), casq.check_columns(wanted);

    DELETE FROM casq.tracked AS t WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation);
    SELECT * INTO present FROM casq.tracked AS t WHERE t.relation = track.relation OR t.kind = track.kind
    ORDER BY t.relation = track.relation DESC LIMIT 1;
    IF present.relation <> track.relation THEN
        RAISE EXCEPTION 'casq: kind % is that of table %', quote_literal(track.kind), present.relation
            USING ERRCODE = 'duplicate_object',
                  HINT = format('Choose another kind, or SELECT casq.untrack(%L) first.', present.relation);
    ELSIF (present.kind, present.key_column, present.id_column, present.scope_column, present.size_column, present.payload_columns, present.every_update)
        IS DISTINCT FROM (wanted.kind, wanted.key_column, wanted.id_column, wanted.scope_column, wanted.size_column, wanted.payload_columns, wanted.every_update)
        AND present.relation IS NOT NULL
    THEN
        RAISE EXCEPTION 'casq: % is tracked otherwise', track.relation
            USING ERRCODE = 'duplicate_object',
                  DETAIL = format('Present: %s.', to_jsonb(present) - '{relation,relation_oid,numbers,name,filenode,shape,tracked_at}'::text[]),
                  HINT = format('SELECT casq.untrack(%L) first, in the same transaction.', track.relation);
    ELSIF present.relation IS NULL THEN
        INSERT INTO casq.tracked (relation, kind, key_column, id_column, scope_column, size_column, payload_columns, every_update, numbers, relation_oid, name)
        VALUES (wanted.relation, wanted.kind, wanted.key_column, wanted.id_column, wanted.scope_column, wanted.size_column,
                wanted.payload_columns, wanted.every_update, wanted.numbers, wanted.relation_oid, wanted.name);
        -- First the triggers: members without them are partitions that came.
        PERFORM set_config('casq.aligning', 'on', true);
        PERFORM casq.put_log_function(wanted);
        PERFORM casq.put_triggers(wanted.kind, m) FROM casq.members(track.relation) AS m;
    ELSE
        UPDATE casq.tracked AS t SET name = wanted.name WHERE t.relation = track.relation AND t.name <> wanted.name;
    END IF;
    PERFORM casq.align(track.kind);

    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', track.relation) INTO appeared;
    IF existing = 0 AND appeared THEN
        EXECUTE format('SELECT count(*) FROM %s', track.relation) INTO existing;
    END IF;
    IF NOT wanted.every_update AND wanted.size_column IS NULL AND cardinality(wanted.payload_columns) = (
        SELECT nullif(count(*), 0) FROM unnest(wanted.payload_columns) AS called CROSS JOIN LATERAL casq.tracked_column(wanted, called) AS a
        WHERE casq.base_type(a.atttypid) IN ('date'::regtype, 'time'::regtype, 'timetz'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype))
    THEN
        RAISE WARNING 'casq: all that tells of a change of kind % is a time: two changes of a row within its resolution are one', quote_literal(wanted.kind)
            USING HINT = 'With every_update => true each UPDATE is told of; casq.touch(kind, key) tells of a change without one.';
    END IF;
    IF existing > 0 AND present.relation IS NULL THEN
        RAISE NOTICE 'casq: % rows of % are there already, run: enqueue backfill --kind %', existing, track.relation, track.kind;
    END IF;
    RETURN existing;
END $function$;

CREATE OR REPLACE FUNCTION casq.track_sql(t casq.tracked)
 RETURNS casq.track_sql
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    s casq.track_sql;
    a pg_attribute := casq.tracked_column(t, t.key_column);
    base oid := casq.base_type(a.atttypid);
    key_collation pg_collation;
    called text;
    told text;
    fields text[] := '{}';
    -- Types of which each value is one of jsonb.
    plain oid[] := ARRAY['bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype, 'date'::regtype,
                         'timestamp'::regtype, 'timestamptz'::regtype, 'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype,
                         'numeric'::regtype, 'float4'::regtype, 'float8'::regtype, 'interval'::regtype, 'jsonb'::regtype];
BEGIN
    PERFORM casq.check_trusted(t.relation);
    s.root := casq.full_name(t.relation);
    IF base IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN
        -- Resources are told apart by bytes, whatever the column's collation says.
        SELECT c.* INTO key_collation FROM pg_collation AS c
        WHERE c.oid = (casq.key_index(t.relation, a.attnum)).indcollation[0];
        s.key := format('r.%I::text COLLATE "C"', a.attname);
        s.resource_id := format('CASE WHEN octet_length(c.key) BETWEEN 1 AND 1024 THEN c.key ELSE casq.refuse_key(%L, c.key) END', t.kind);
        s.present := format('r.%I = c.key%s%s', a.attname,
            CASE WHEN base = 'bpchar'::regtype THEN '::bpchar' ELSE '' END,
            coalesce(format(' COLLATE %s', key_collation.oid::regcollation), ''));
        IF NOT key_collation.collisdeterministic THEN
            s.present := format('%s AND %s = c.key', s.present, s.key);
        END IF;
    ELSE
        s.key := format('r.%I::%s', a.attname, base::regtype);
        s.resource_id := 'c.key::text';
        s.present := format('r.%I = c.key', a.attname);
    END IF;

    IF t.id_column IS NOT NULL THEN
        a := casq.tracked_column(t, t.id_column);
        base := casq.base_type(a.atttypid);
        s.id := format(CASE WHEN base IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN 'r.%I::text COLLATE "C"'
                       ELSE 'r.%I::%s' END, a.attname, base::regtype);
    END IF;

    s.scope := 'NULL::text';
    IF t.scope_column IS NOT NULL THEN
        a := casq.tracked_column(t, t.scope_column);
        -- Rows without one have a scope of their own.
        s.scope := format('coalesce(r.%I::text COLLATE "C", '''')', a.attname);
    END IF;

    s.size := 'NULL::bigint';
    s.bytes := 'coalesce(i.size, 0)::bigint';
    IF t.size_column IS NOT NULL THEN
        a := casq.tracked_column(t, t.size_column);
        s.size := format('r.%I', a.attname);
        IF casq.base_type(a.atttypid) = 'numeric'::regtype THEN
            s.bytes := format('CASE WHEN coalesce(i.size, 0) BETWEEN -9223372036854775807 AND 9223372036854775807'
                ' THEN coalesce(i.size, 0)::bigint ELSE casq.refuse_size(%L, i.key::text, i.size) END', t.kind);
        END IF;
        IF NOT 'size' = ANY (t.payload_columns) THEN
            fields := ARRAY[format('''size'', r.%I', a.attname)];
        END IF;
    END IF;

    s.images := '{}';
    FOREACH called IN ARRAY t.payload_columns LOOP
        a := casq.tracked_column(t, called);
        base := casq.base_type(a.atttypid);
        told := format('r.%I', a.attname);
        IF base >= 16384 THEN
            -- A type of the user's own is told as its text: its casts, to json
            -- or to text, would run with the rights of casq's owner.
            told := format('CASE WHEN num_nonnulls(%1$s) > 0 THEN format(''%%s'', %1$s) END', told);
        ELSIF base = 'bytea'::regtype THEN
            -- How bytea is written depends on the session's bytea_output.
            told := format('encode(%s, ''hex'')', told);
        ELSIF base <> ALL (plain) THEN
            told := format('casq.told(%s)', told);
        END IF;
        fields := fields || format('%L, %s', called, told);
        -- Only types whose equality is identity are compared as they are:
        -- json has none, and a collation may call two texts equal.
        s.images := s.images || CASE
            WHEN base IN ('bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype,
                          'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN told
            WHEN base IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'bytea'::regtype) OR base >= 16384
                THEN format('(%s)::text COLLATE "C"', told)
            ELSE format('to_jsonb(%s)', told) END;
    END LOOP;
    s.payload := format('jsonb_build_object(%s)', array_to_string(fields, ', '));
    RETURN s;
END $function$;

CREATE OR REPLACE FUNCTION casq.track_view(view regclass, kind text, transfer text, id_column text, key_column text, sources jsonb, scope_column text DEFAULT NULL::text, size_column text DEFAULT NULL::text, payload_columns text[] DEFAULT '{}'::text[], queue text DEFAULT NULL::text, prefix text DEFAULT NULL::text, source_prefix text DEFAULT NULL::text, missing text DEFAULT NULL::text, quiet interval DEFAULT NULL::interval, probe interval DEFAULT NULL::interval, names_in text DEFAULT current_setting('search_path'::text))
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    wanted casq.views;
    present casq.views;
    existing bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: track_view needs READ COMMITTED, an old snapshot misses rows' USING ERRCODE = 'invalid_transaction_state';
    ELSIF track_view.kind IS NULL OR track_view.kind !~ '^[a-z][a-z0-9_]{0,39}$' THEN
        RAISE EXCEPTION 'casq: % is no name for a kind', coalesce(quote_literal(track_view.kind), 'NULL')
            USING ERRCODE = 'invalid_name', HINT = 'A kind has 1 to 40 lower case letters, digits and _, a letter first.';
    ELSIF track_view.id_column IS NULL OR track_view.key_column IS NULL THEN
        RAISE EXCEPTION 'casq: track_view needs an id_column and a key_column' USING ERRCODE = 'invalid_parameter_value';
    ELSIF track_view.sources IS NULL OR jsonb_typeof(track_view.sources) <> 'object' OR track_view.sources = '{}' THEN
        RAISE EXCEPTION 'casq: track_view needs the sources of the view' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'By name the tables that it is made of, each with a query: {"repository": "SELECT id FROM changed"}.';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('casq.views', 0));
    wanted.kind := track_view.kind;
    wanted.view := track_view.view;
    wanted.name := casq.full_name(track_view.view);
    wanted.id_column := track_view.id_column;
    wanted.key_column := track_view.key_column;
    wanted.scope_column := track_view.scope_column;
    wanted.size_column := track_view.size_column;
    wanted.payload_columns := coalesce((SELECT array_agg(DISTINCT p ORDER BY p) FROM unnest(track_view.payload_columns) AS p), '{}');
    wanted.sources := track_view.sources;
    PERFORM casq.check_view(wanted);
    SELECT * INTO present FROM casq.views AS x WHERE x.kind = wanted.kind OR x.view = wanted.view ORDER BY x.kind = wanted.kind DESC LIMIT 1;
    IF present.kind IS NULL THEN
        existing := casq.count_view(wanted);
        PERFORM casq.define_kind(track_view.kind, track_view.transfer, track_view.queue, track_view.prefix, track_view.source_prefix,
            track_view.missing, track_view.quiet, track_view.probe);
        wanted.image := casq.put_image(wanted);
        INSERT INTO casq.views (kind, view, name, image, id_column, key_column, scope_column, size_column, payload_columns, sources)
        VALUES (wanted.kind, wanted.view, wanted.name, wanted.image, wanted.id_column, wanted.key_column, wanted.scope_column,
                wanted.size_column, wanted.payload_columns, wanted.sources);
        PERFORM casq.track(wanted.image, wanted.kind, track_view.transfer, wanted.key_column, wanted.scope_column, wanted.size_column,
            wanted.payload_columns, track_view.queue, track_view.prefix, track_view.source_prefix,
            track_view.missing, track_view.quiet, track_view.probe, id_column => NULLIF(wanted.id_column, wanted.key_column));
        PERFORM casq.put_sources(wanted, track_view.names_in);
        RAISE NOTICE 'casq: % rows of view % are taken up by a worker: SELECT * FROM casq.view_status', existing, wanted.view;
        PERFORM casq.warn_of_unnamed(wanted);
    ELSIF (present.kind, present.view, present.id_column, present.key_column, present.scope_column, present.size_column, present.payload_columns, present.sources)
        IS DISTINCT FROM (wanted.kind, wanted.view, wanted.id_column, wanted.key_column, wanted.scope_column, wanted.size_column, wanted.payload_columns, wanted.sources)
    THEN
        RAISE EXCEPTION 'casq: kind %, or view %, is tracked otherwise', quote_literal(wanted.kind), wanted.view
            USING ERRCODE = 'duplicate_object',
                  DETAIL = format('Present: %s.', to_jsonb(present) - '{definition,image,compare_asked_at,renewed,compare_from,compare_began_at,compared_to,compared_at,filled_at,fills,error,failed_at,tried_at,tracked_at}'::text[]),
                  HINT = format('SELECT casq.untrack(kind => %L) first, in the same transaction.', present.kind);
    ELSE
        existing := casq.count_view(wanted);
        PERFORM casq.define_kind(track_view.kind, track_view.transfer, track_view.queue, track_view.prefix, track_view.source_prefix,
            track_view.missing, track_view.quiet, track_view.probe);
        PERFORM casq.drop_ids(present.kind);
        PERFORM casq.put_sources(present, track_view.names_in);
        PERFORM casq.compare_view(present.kind);
    END IF;
    RETURN existing;
END $function$;

CREATE OR REPLACE FUNCTION casq.tracked_column(t casq.tracked, called text)
 RETURNS pg_attribute
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    found_column pg_attribute;
BEGIN
    SELECT * INTO found_column FROM pg_attribute AS a
    WHERE a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
      AND CASE WHEN t.relation_oid = t.relation::oid AND t.numbers ? called
               THEN a.attnum = (t.numbers ->> called)::smallint
               ELSE a.attname = called END;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation) THEN
        RAISE EXCEPTION 'casq: the table of kind % is gone', t.kind
            USING ERRCODE = 'undefined_table',
                  HINT = format('To give up tracking it: SELECT casq.untrack(kind => %L).', t.kind);
    ELSIF NOT FOUND THEN
        RAISE EXCEPTION 'casq: table % has no column %, which kind % needs',
            t.relation, quote_ident(called), t.kind
            USING ERRCODE = 'undefined_column',
                  HINT = format('Name a column that exists; to give up a tracked one: SELECT casq.untrack(%L).', t.relation);
    END IF;
    RETURN found_column;
END $function$;

CREATE OR REPLACE FUNCTION casq.tracked_kind(kind text)
 RETURNS casq.tracked
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    t casq.tracked;
BEGIN
    SELECT * INTO t FROM casq.tracked AS k WHERE k.kind = tracked_kind.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: kind % has no tracked table', coalesce(quote_literal(tracked_kind.kind), 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = format('Tracked kinds: %s.', coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.tracked AS k), 'none'));
    END IF;
    RETURN t;
END $function$;

CREATE OR REPLACE FUNCTION casq.trigger_names(kind text)
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT ARRAY['casq_' || kind || '_insert', 'casq_' || kind || '_update',
                 'casq_' || kind || '_delete', 'casq_' || kind || '_truncate', 'casq_' || kind || '_merge']
$function$;

CREATE OR REPLACE FUNCTION casq.ungroup_scopes(kind text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM casq.scope_groups AS k WHERE k.kind = ungroup_scopes.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: scopes of kind % are not grouped', coalesce(quote_literal(ungroup_scopes.kind), 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = 'Grouped kinds: ' || coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.scope_groups AS k), 'none') || '.';
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.unsteady(relation regclass)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce(
        (SELECT p.oid::regprocedure::text
         FROM casq.views_within(unsteady.relation) AS v
         CROSS JOIN LATERAL regexp_matches(v.definition, ':(funcid|aggfnoid|winfnoid|opno) (\d+)', 'g') AS m
         LEFT JOIN pg_operator AS o ON m[1] = 'opno' AND o.oid = m[2]::oid
         JOIN pg_proc AS p ON p.oid = CASE WHEN m[1] = 'opno' THEN o.oprcode::oid ELSE m[2]::oid END
         WHERE p.provolatile = 'v' OR p.oid IN ('now()'::regprocedure, 'transaction_timestamp()'::regprocedure, 'statement_timestamp()'::regprocedure,
                                                 'age(timestamp)'::regprocedure, 'age(timestamptz)'::regprocedure)
         ORDER BY 1 LIMIT 1),
        (SELECT 'CURRENT_TIMESTAMP, CURRENT_USER or the like' FROM casq.views_within(unsteady.relation) AS v
         WHERE v.definition LIKE '%{SQLVALUEFUNCTION %' LIMIT 1))
$function$;

CREATE OR REPLACE FUNCTION casq.untrack(relation regclass DEFAULT NULL::regclass, kind text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    gone casq.tracked;
    view_kind text;
BEGIN
    IF (untrack.relation IS NULL) = (untrack.kind IS NULL) THEN
        RAISE EXCEPTION 'casq: untrack needs either a table or a kind' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT v.kind, v.image INTO view_kind, untrack.relation FROM casq.views AS v
    WHERE v.kind = untrack.kind OR untrack.relation IN (v.view, v.image)
    UNION ALL
    SELECT NULL, coalesce(untrack.relation, (SELECT t.relation FROM casq.tracked AS t WHERE t.kind = untrack.kind))
    LIMIT 1;
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = untrack.relation) THEN
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', untrack.relation);
    END IF;
    DELETE FROM casq.tracked AS t WHERE t.relation = untrack.relation RETURNING * INTO gone;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: % is not tracked', coalesce('kind ' || quote_literal(untrack.kind), untrack.relation::text)
            USING ERRCODE = 'undefined_object',
                  HINT = coalesce('Tracked: ' || (SELECT string_agg(t.relation::text, ', ' ORDER BY t.kind) FROM casq.tracked AS t) || '.',
                                  'No table is tracked.');
    END IF;
    PERFORM casq.drop_triggers(gone.kind, g.tgrelid) FROM (
        SELECT DISTINCT tgrelid FROM pg_trigger WHERE tgname = ANY (casq.trigger_names(gone.kind))
    ) AS g;
    EXECUTE format('DROP FUNCTION IF EXISTS casq.%I()', 'log_' || gone.kind);
    IF view_kind IS NOT NULL THEN
        PERFORM casq.leave_view(view_kind);
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.untrusted(relation regclass, OUT what text, OUT is_relation boolean, OUT owner regrole)
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
    WITH RECURSIVE read (oid) AS (
        SELECT untrusted.relation::oid
        UNION
        SELECT part.oid FROM read AS r CROSS JOIN LATERAL (
            SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = r.oid
            UNION ALL
            SELECT d.refobjid FROM pg_class AS c
            JOIN pg_rewrite AS w ON w.ev_class = c.oid
            JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
            WHERE c.oid = r.oid AND c.relkind = 'v'
        ) AS part (oid)
    ), evaluated (classid, objid) AS (
        SELECT 'pg_class'::regclass::oid, r.oid FROM read AS r
        UNION
        SELECT d.classid, d.objid FROM read AS r
        JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid
        WHERE d.classid IN ('pg_class'::regclass, 'pg_statistic_ext'::regclass, 'pg_constraint'::regclass)
           OR d.classid = 'pg_attrdef'::regclass AND EXISTS (
               SELECT FROM pg_attrdef AS f JOIN pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
               WHERE f.oid = d.objid AND a.attgenerated = 'v')
           OR d.classid = 'pg_rewrite'::regclass AND EXISTS (
               SELECT FROM pg_rewrite AS w JOIN pg_class AS c ON c.oid = w.ev_class
               WHERE w.oid = d.objid AND c.oid = r.oid AND c.relkind = 'v')
    )
    SELECT f.what, f.is_relation, f.owner::regrole FROM (
        SELECT c.oid::regclass::text, true, CASE WHEN c.xmax = '0' OR NOT casq.is_superseded(c.xmax) THEN c.relowner END
        FROM read AS r JOIN pg_class AS c ON c.oid = r.oid
        UNION ALL
        SELECT pg_describe_object(d.refclassid, d.refobjid, 0), false, coalesce(p.proowner, o.oprowner, y.typowner)
        FROM evaluated AS e
        JOIN pg_depend AS d ON d.classid = e.classid AND d.objid = e.objid
        LEFT JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
        LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
        -- A column's own domain is not checked when it is read.
        LEFT JOIN pg_type AS y ON d.refclassid = 'pg_type'::regclass AND y.oid = d.refobjid AND y.typtype = 'd'
            AND NOT EXISTS (SELECT FROM read AS r WHERE d.classid = 'pg_class'::regclass AND r.oid = d.objid)
    ) AS f (what, is_relation, owner)
    WHERE f.is_relation AND f.owner IS NULL OR NOT casq.is_trusted(f.owner)
    ORDER BY f.is_relation DESC, f.what LIMIT 1
$function$;

CREATE OR REPLACE FUNCTION casq.values_of(type text, texts text[])
 RETURNS text[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    single text;
    kept text[] := '{}';
BEGIN
    BEGIN
        EXECUTE format('SELECT $1::%s[]', type) USING texts;
        RETURN texts;
    EXCEPTION WHEN data_exception THEN
        IF cardinality(texts) <= 1 THEN
            RETURN '{}';
        END IF;
    END;
    FOREACH single IN ARRAY texts LOOP
        kept := kept || casq.values_of(type, ARRAY[single]);
    END LOOP;
    RETURN kept;
END $function$;

CREATE OR REPLACE FUNCTION casq.view_definition(view regclass)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT md5(string_agg(v.view::regclass || ' ' || pg_get_viewdef(v.view), E'\n' ORDER BY v.view)) FROM casq.views_within(view_definition.view) AS v
$function$;

CREATE OR REPLACE FUNCTION casq.views_behind()
 RETURNS TABLE(kind text, changes bigint, why text)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT b.kind, b.changes, concat_ws('; ', b.error, b.unfilled, b.compared, b.noted, b.failed)
    FROM (
        SELECT v.kind, n.changes, 'cannot be evaluated: ' || v.error AS error,
               CASE WHEN v.filled_at IS NULL THEN 'is not filled yet' END AS unfilled,
               CASE WHEN v.filled_at IS NOT NULL AND (v.compare_asked_at IS NOT NULL OR v.compare_began_at IS NOT NULL)
                    THEN 'is being compared, as something may have been missed' END AS compared,
               CASE WHEN n.changes > 0 THEN format('%s changes of its sources, or ids, are not evaluated', n.changes) END AS noted,
               CASE WHEN i.failed > 0 THEN format('%s rows cannot be followed (casq.view_ids)', i.failed) END AS failed
        FROM casq.views AS v
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE w.reason IS NULL) AS waiting, count(*) FILTER (WHERE w.reason IS NOT NULL) AS failed
            FROM casq.view_ids AS w WHERE w.kind = v.kind
        ) AS i
        CROSS JOIN LATERAL (
            SELECT count(*) + i.waiting AS changes FROM casq.view_sources AS p JOIN casq.source_changes AS e ON e.source = p.source
            WHERE p.kind = v.kind AND NOT EXISTS (
                SELECT FROM casq.cursors AS c JOIN casq.ticks AS t ON t.id = c.tick AND t.nonce = c.nonce
                WHERE c.name = 'views' AND pg_visible_in_snapshot(e.xid, t.snapshot))
        ) AS n
    ) AS b
    WHERE b.changes > 0 OR num_nonnulls(b.error, b.unfilled, b.compared, b.failed) > 0
    ORDER BY b.kind
$function$;

CREATE OR REPLACE FUNCTION casq.views_within(relation regclass)
 RETURNS TABLE(view oid, definition text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH RECURSIVE read (oid) AS (
        SELECT views_within.relation::oid
        UNION
        SELECT d.refobjid FROM read AS r
        JOIN pg_rewrite AS w ON w.ev_class = r.oid
        JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
        JOIN pg_class AS c ON c.oid = d.refobjid AND c.relkind = 'v'
    )
    SELECT r.oid, w.ev_action::text FROM read AS r JOIN pg_rewrite AS w ON w.ev_class = r.oid
    JOIN pg_class AS c ON c.oid = r.oid AND c.relkind = 'v'
$function$;

CREATE OR REPLACE FUNCTION casq.warn_of_unnamed(v casq.views)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    unnamed text;
BEGIN
    SELECT string_agg(DISTINCT c.oid::regclass::text, ', ') INTO unnamed
    FROM casq.views_within(v.view) AS w
    JOIN pg_rewrite AS r ON r.ev_class = w.view
    JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class AS c ON c.oid = d.refobjid AND c.relkind IN ('r', 'p', 'f', 'm')
    WHERE c.oid NOT IN (SELECT s.relation FROM casq.view_sources AS p JOIN casq.sources AS s ON s.id = p.source WHERE p.kind = v.kind);
    IF unnamed IS NOT NULL THEN
        RAISE WARNING 'casq: view % reads %, of which sources has nothing: what changes there alone is not followed', v.view, unnamed;
    END IF;
END $function$;

CREATE OR REPLACE FUNCTION casq.watch_sources()
 RETURNS SETOF text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    s casq.sources;
    said text;
BEGIN
    -- Without a lock: while nothing is wrong nothing is written.
    FOR s IN SELECT * FROM casq.sources AS x ORDER BY x.id LOOP
        said := casq.source_problem(s);
        IF said IS NULL THEN
            PERFORM casq.renew_source(s);
        ELSE
            RETURN NEXT said;
        END IF;
        IF said IS DISTINCT FROM s.problem THEN
            UPDATE casq.sources AS x SET problem = said, problem_at = CASE WHEN said IS NOT NULL THEN coalesce(x.problem_at, clock_timestamp()) END WHERE x.id = s.id;
            UPDATE casq.views AS v SET compare_asked_at = clock_timestamp() FROM casq.view_sources AS p WHERE p.source = s.id AND v.kind = p.kind;
        END IF;
    END LOOP;
    UPDATE casq.views AS v SET compare_asked_at = clock_timestamp() WHERE v.kind IN (
        SELECT x.kind FROM casq.views AS x
        WHERE x.compare_asked_at IS NULL AND x.error IS NULL AND x.definition IS DISTINCT FROM casq.view_definition(x.view)
        FOR UPDATE SKIP LOCKED);
END $function$;

CREATE OR REPLACE FUNCTION casq.watch_tables()
 RETURNS SETOF text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    t casq.tracked;
    found_oid regclass;
    now_filenode oid;
    now_shape text;
    said text;
BEGIN
    FOR found_oid IN SELECT k.relation FROM casq.tracked AS k JOIN pg_class AS c ON c.oid = k.relation
        WHERE k.relation_oid = k.relation::oid AND (k.filenode, k.shape) IS DISTINCT FROM (c.relfilenode, casq.shape(k))
        ORDER BY k.kind
    LOOP
        -- Whoever writes the table may be about to commit what is found here, too.
        SELECT * INTO t FROM casq.tracked AS k WHERE k.relation = found_oid FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        SELECT c.relfilenode, casq.shape(t) INTO now_filenode, now_shape FROM pg_class AS c WHERE c.oid = t.relation;
        said := casq.note_rewrite(t, now_filenode, now_shape);
        IF said IS NOT NULL THEN
            RETURN NEXT said;
        END IF;
        UPDATE casq.tracked AS k SET filenode = now_filenode, shape = now_shape WHERE k.relation = t.relation;
        BEGIN
            PERFORM casq.align(t.kind);
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT SQLERRM;
        END;
    END LOOP;
    RETURN QUERY SELECT r.said FROM casq.replaced() AS r;
END $function$;

CREATE OR REPLACE FUNCTION casq.why(kind text, key text)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET "DateStyle" TO 'ISO'
 SET "IntervalStyle" TO 'postgres'
AS $function$
DECLARE
    r casq.registry;
    s casq.registry_status;
    p casq.processes;
    j record;
    waits boolean; -- a job is there, and waits to be fetched
    answer text;
BEGIN
    SELECT * INTO r FROM casq.registry AS t WHERE t.kind = why.kind AND t.resource_id = why.key;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = why.kind) THEN
            answer := format('%s is not a known kind here; known: %s', quote_nullable(why.kind),
                coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.kinds AS k), 'none'));
        ELSE
            answer := format('%s %s has no row: no event of it has been applied; the cursor stands at %s',
                why.kind, quote_nullable(why.key),
                coalesce((SELECT 'tick ' || c.tick FROM casq.cursors AS c WHERE c.name = 'registry'), 'nothing yet'));
        END IF;
        RETURN answer || casq.why_selection(why.kind, NULL) || casq.why_events(why.kind, why.key) || casq.why_reconcile(why.kind, NULL, NULL);
    END IF;
    SELECT * INTO s FROM casq.registry_status AS t WHERE t.kind = why.kind AND t.resource_id = why.key;

    answer := format('%s %s is %s: version %s was asked for %s ago %s event %s of timeline %s (tick %s)',
        r.kind, quote_literal(r.resource_id), s.status, r.version, date_trunc('second', clock_timestamp() - r.queued_at),
        CASE WHEN r.probed_version = r.version THEN 'since it had changed without an event, after' ELSE 'by' END, r.event_id, r.timeline, r.tick);
    IF s.status IN ('synced', 'removed') THEN
        RETURN answer || CASE s.status WHEN 'synced' THEN ' and is in place' ELSE ' and is gone' END
            || coalesce(' since ' || r.verified_at, '') || coalesce('; the source was compared at ' || r.compared_at, '') || casq.why_selection(r.kind, r) || casq.why_events(r.kind, r.resource_id)
            || casq.why_reconcile(r.kind, r.timeline, r.tick);
    END IF;
    answer := answer || CASE WHEN r.synced_version IS NULL THEN '; nothing is in place'
                             ELSE format('; in place is version %s', r.synced_version) END
        || coalesce((SELECT format('; it comes from %s, whose copy is used', quote_literal(m.base_id)) FROM casq.moves AS m
            WHERE m.kind = r.kind AND m.resource_id = r.resource_id AND m.incarnation = r.incarnation LIMIT 1), '');
    IF r.claim IS NOT NULL THEN
        SELECT * INTO p FROM casq.processes AS t WHERE t.id = r.claim_process;
        answer := answer || CASE
            WHEN p.id IS NULL OR p.dead_at IS NOT NULL THEN
                format('; process %s died while it worked on it, the sweep will hand it on', r.claim_process)
            ELSE format('; job %s works on it in process %s on %s (attempt %s)', coalesce(r.claim_job::text, 'of an unknown number'),
                p.pid, p.host, r.attempts)
        END;
    END IF;

    -- By the index of jobs that have not ended, before anything else is asked: planned
    -- as one, the newest job may be searched for from the newest one on, through all
    -- that wait.
    WITH its AS MATERIALIZED (
        SELECT * FROM river.river_job AS t
        WHERE t.finalized_at IS NULL
          AND (t.args ->> 'resource_id') COLLATE "C" = r.resource_id AND t.args ->> 'kind' = r.kind
    )
    SELECT t.id, t.state, t.queue, t.priority, t.scheduled_at, t.metadata ? 'quiet_since' AS quiet INTO j
    FROM its AS t
    WHERE (t.args ->> 'version')::bigint = r.version
      AND t.kind IN ('casq_sync', 'casq_remove')
      AND t.state IN ('available', 'retryable', 'scheduled', 'pending', 'running')
      AND (r.claim IS NULL OR t.id IS DISTINCT FROM r.claim_job)
    ORDER BY t.id DESC LIMIT 1;
    waits := FOUND AND j.state <> 'running';

    IF s.status = 'absent' THEN
        answer := answer || coalesce('; the source does not have it, as was seen first at ' || s.missing_since, '; the source did not have it')
            || ', which is no failure of its kind'
            || coalesce('; it is looked at again at ' || r.retry_at || ', and with its next event', '');
    ELSIF r.failed_version = r.version THEN
        answer := answer || format('; %s ended with: %s',
            CASE WHEN r.claim IS NULL THEN format('attempt %s', r.attempts) ELSE 'an attempt before' END,
            coalesce(r.last_error, 'an error that is not known'))
            || coalesce('; the source does not have it, seen first at ' || s.missing_since, '');
        IF r.claim IS NULL THEN
            answer := answer || CASE
                WHEN r.retry_at > clock_timestamp() THEN '; next attempt at ' || r.retry_at
                WHEN r.retry_at IS NOT NULL THEN format('; the next attempt was due at %s', r.retry_at)
                WHEN j.id IS NOT NULL THEN '; it is tried again'
                ELSE '; it is not tried again by itself (enqueue resync --failed)' END;
        END IF;
    END IF;
    IF j.id IS NOT NULL THEN
        answer := answer || format('; job %s is %s in queue %s', j.id, j.state, j.queue);
        IF EXISTS (SELECT FROM river.river_queue AS q WHERE q.name = j.queue AND q.paused_at IS NOT NULL) THEN
            answer := answer || ', which is paused';
        END IF;
        IF j.state IN ('available', 'scheduled') AND j.quiet AND j.scheduled_at > clock_timestamp() THEN
            answer := answer || format('; it begins at %s unless more changes come before', j.scheduled_at);
        ELSIF j.state = 'available' THEN
            answer := answer || casq.why_in_front(j.queue, j.priority, j.scheduled_at, j.id);
        END IF;
    ELSIF casq.kept_for(r) IS NOT NULL THEN
        answer := answer || format('; it stays until its resource is in place under its new key, %s, which is %s',
            quote_literal(casq.kept_for(r)), coalesce((SELECT t.status FROM casq.registry_status AS t
                WHERE t.kind = r.kind AND t.resource_id = casq.kept_for(r)), 'still to come with the log'));
    ELSIF r.claim IS NULL AND (s.status <> 'failed' OR r.retry_at IS NOT NULL) THEN
        answer := answer || '; it has no job (a reconcile, or enqueue resync, queues one)';
    END IF;
    IF (waits OR r.claim IS NOT NULL) AND NOT EXISTS (SELECT FROM casq.processes AS t WHERE t.dead_at IS NULL) THEN
        answer := answer || '; no worker is running that could go on with it';
    END IF;
    RETURN answer || casq.why_selection(r.kind, r) || casq.why_events(r.kind, r.resource_id)
        || casq.why_reconcile(r.kind, r.timeline, r.tick);
END $function$;

CREATE OR REPLACE FUNCTION casq.why_build(build bigint)
 RETURNS text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION casq.why_events(kind text, key text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce((
        SELECT format('; event %s of timeline %s could not be applied: %s (enqueue replay re-fetches the resource)%s',
            f.event_id, f.timeline, f.reason, CASE WHEN f.more > 0 THEN format('; and %s more', f.more) END)
        FROM (
            SELECT e.timeline, e.event_id, e.reason, count(*) OVER () - 1 AS more
            FROM casq.event_failures AS e
            WHERE e.kind = why_events.kind AND e.resource_id = why_events.key AND e.replayed_at IS NULL
            ORDER BY e.timeline DESC, e.event_id DESC LIMIT 1
        ) AS f), '')
$function$;

CREATE OR REPLACE FUNCTION casq.why_in_front(queue text, priority smallint, scheduled_at timestamp with time zone, id bigint)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
    SELECT CASE coalesce(sum(f.n), 0)
        WHEN 0 THEN '; nothing is in front of it'
        ELSE format('; %s in front of it (%s)',
            CASE sum(f.n) WHEN 1000 THEN 'at least 1000 jobs are' WHEN 1 THEN '1 job is' ELSE sum(f.n) || ' jobs are' END,
            string_agg(format('%s for %s', f.n, CASE f.priority
                WHEN 1 THEN 'events and single requests' WHEN 2 THEN 'comparisons'
                WHEN 3 THEN 'resyncs of many and backfills' ELSE 'verifications' END), ', ' ORDER BY f.priority))
        END
    FROM (
        SELECT front.priority, count(*) AS n
        FROM (
            SELECT j.priority FROM river.river_job AS j
            WHERE j.state = 'available' AND j.queue = why_in_front.queue
              AND (j.priority, j.scheduled_at, j.id) < (why_in_front.priority, why_in_front.scheduled_at, why_in_front.id)
            ORDER BY j.priority, j.scheduled_at, j.id LIMIT 1000
        ) AS front
        GROUP BY front.priority
    ) AS f
$function$;

CREATE OR REPLACE FUNCTION casq.why_reconcile(kind text, timeline integer, tick bigint)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce((
        SELECT format('; reconcile %s, %s, will compare it', q.id,
            CASE WHEN q.started_at IS NULL THEN 'asked for at ' || q.requested_at ELSE 'begun at ' || q.started_at END)
        FROM casq.reconcile_runs AS q
        WHERE q.finished_at IS NULL AND NOT q.dry_run
          AND (q.kind IS NULL OR q.kind = why_reconcile.kind)
          AND (q.beyond_tick IS NULL OR why_reconcile.tick IS NULL
               OR (why_reconcile.timeline, why_reconcile.tick) > (q.beyond_timeline, q.beyond_tick))
        ORDER BY q.id LIMIT 1), '')
$function$;

CREATE OR REPLACE FUNCTION casq.why_selection(kind text, r casq.registry)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT coalesce((
        SELECT CASE
            WHEN s.scopes = '{}' THEN '; not selected on this site, which has nothing of the kind (enqueue select)'
            -- Without a row, or with one that is older than scope_id, it is not known.
            WHEN r.scope_id IS NULL AND (r.deleted_at IS NOT NULL OR r.version IS NULL) THEN
                format('; if it is in another scope it is not selected on this site, which has only %s of the kind (enqueue select)', w.words)
            WHEN r.scope_id <> ALL (s.scopes) THEN
                format('; not selected on this site, which has only %s of the kind, and not %s (enqueue select)', w.words, quote_literal(r.scope_id))
            END
        FROM casq.selections AS s
        CROSS JOIN LATERAL (
            SELECT format('scope %s%s', string_agg(quote_literal(x.scope), ', '),
                CASE WHEN cardinality(s.scopes) > 10 THEN format(' and %s more', cardinality(s.scopes) - 10) END) AS words
            FROM unnest(s.scopes[:10]) AS x (scope)
        ) AS w
        WHERE s.kind = why_selection.kind AND s.scopes IS NOT NULL), '')
$function$;

CREATE OR REPLACE FUNCTION casq.write_image(v casq.views, ids text[], good text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    columns text;
BEGIN
    EXECUTE format('DELETE FROM %1$s AS casq_h WHERE casq_h.%2$I = ANY ($1::%3$s[])'
        ' AND NOT EXISTS (SELECT FROM unnest($2::%1$s[]) AS casq_w WHERE casq_w.%2$I = casq_h.%2$I)',
        v.image, v.id_column, casq.image_type(v, v.id_column)) USING ids, good;
    SELECT string_agg(format('%1$I = casq_w.%1$I', a.attname), ', ') INTO columns
    FROM pg_attribute AS a WHERE a.attrelid = v.image AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> v.id_column;
    IF columns IS NOT NULL THEN
        EXECUTE format('UPDATE %1$s AS casq_h SET %3$s FROM unnest($1::%1$s[]) AS casq_w'
            ' WHERE casq_h.%2$I = casq_w.%2$I AND ROW(casq_h.*)::text IS DISTINCT FROM ROW(casq_w.*)::text', v.image, v.id_column, columns) USING good;
    END IF;
    EXECUTE format('INSERT INTO %1$s SELECT casq_w.* FROM unnest($1::%1$s[]) AS casq_w'
        ' WHERE NOT EXISTS (SELECT FROM %1$s AS casq_h WHERE casq_h.%2$I = casq_w.%2$I)', v.image, v.id_column) USING good;
END $function$;

---- Triggers

CREATE TRIGGER leave AFTER DELETE ON casq.artifacts FOR EACH ROW EXECUTE FUNCTION casq.leave_artifact();

CREATE CONSTRAINT TRIGGER admit_inserted AFTER INSERT ON casq.builds DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.held) EXECUTE FUNCTION casq.admit_builds();

CREATE CONSTRAINT TRIGGER admit_updated AFTER UPDATE ON casq.builds DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((new.held AND (NOT old.held)) OR ((old.status = ANY (ARRAY['pending'::text, 'running'::text, 'canceling'::text])) AND (new.status <> ALL (ARRAY['pending'::text, 'running'::text, 'canceling'::text]))))) EXECUTE FUNCTION casq.admit_builds();

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.builds REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.builds REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.builds REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER check_inserted BEFORE INSERT ON casq.builds FOR EACH ROW EXECUTE FUNCTION casq.check_build();

CREATE TRIGGER check_updated BEFORE UPDATE ON casq.builds FOR EACH ROW WHEN (((old.status <> new.status) OR (old.held <> new.held))) EXECUTE FUNCTION casq.check_build();

CREATE TRIGGER release AFTER UPDATE ON casq.builds FOR EACH ROW WHEN (((new.finished_at IS NOT NULL) AND (old.finished_at IS NULL))) EXECUTE FUNCTION casq.release_builds();

CREATE TRIGGER signal_freed_runner AFTER UPDATE ON casq.builds FOR EACH ROW WHEN (((old.status = ANY (ARRAY['running'::text, 'canceling'::text])) AND (new.status <> ALL (ARRAY['running'::text, 'canceling'::text])))) EXECUTE FUNCTION casq.signal_freed_runner();

CREATE TRIGGER signal_inserted AFTER INSERT ON casq.builds REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION casq.signal_inserted_builds();

CREATE TRIGGER signal_queued AFTER UPDATE ON casq.builds FOR EACH ROW WHEN ((new.in_queue AND (old.queued IS DISTINCT FROM new.queued))) EXECUTE FUNCTION casq.signal_queued_build();

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.cursors REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.cursors REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.cursors REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.event_failures REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.event_failures REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.events FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('statements');

CREATE TRIGGER events_are_only_inserted BEFORE UPDATE ON casq.events FOR EACH STATEMENT EXECUTE FUNCTION casq.refuse_event_update();

CREATE TRIGGER events_draw_their_id BEFORE INSERT ON casq.events FOR EACH ROW WHEN ((NOT has_sequence_privilege(('casq.events_id_seq'::regclass)::oid, 'UPDATE'::text))) EXECUTE FUNCTION casq.draw_event_id();

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.kinds REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.kinds REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.kinds REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER check_kind BEFORE INSERT OR UPDATE ON casq.kinds FOR EACH ROW EXECUTE FUNCTION casq.check_kind();

CREATE TRIGGER guard_kind BEFORE DELETE OR UPDATE ON casq.kinds FOR EACH ROW EXECUTE FUNCTION casq.guard_kind();

CREATE CONSTRAINT TRIGGER admit AFTER UPDATE ON casq.projects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((old.max_running IS DISTINCT FROM new.max_running)) EXECUTE FUNCTION casq.admit_builds();

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.reconcile_runs REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.reconcile_runs REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.reconcile_runs REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.refreshes REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.refreshes REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.refreshes REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.registry REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.registry REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER forget_counts AFTER TRUNCATE ON casq.registry FOR EACH STATEMENT EXECUTE FUNCTION casq.forget_counts();
-- enabled: A

CREATE TRIGGER keep_counts_delete AFTER DELETE ON casq.registry REFERENCING OLD TABLE AS casq_old FOR EACH STATEMENT EXECUTE FUNCTION casq.keep_counts();
-- enabled: A

CREATE TRIGGER keep_counts_insert AFTER INSERT ON casq.registry REFERENCING NEW TABLE AS casq_new FOR EACH STATEMENT EXECUTE FUNCTION casq.keep_counts();
-- enabled: A

CREATE TRIGGER keep_counts_update AFTER UPDATE ON casq.registry REFERENCING OLD TABLE AS casq_old NEW TABLE AS casq_new FOR EACH STATEMENT EXECUTE FUNCTION casq.keep_counts();
-- enabled: A

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.runners REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.runners REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.runners REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER signal_runner AFTER INSERT OR DELETE OR UPDATE ON casq.runners FOR EACH ROW EXECUTE FUNCTION casq.signal_runner();

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.scans REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.scans REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.scans REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.selections REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.selections REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.selections REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_delete AFTER DELETE ON casq.targets REFERENCING OLD TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_insert AFTER INSERT ON casq.targets REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER casq_record_update AFTER UPDATE ON casq.targets REFERENCING NEW TABLE AS casq_changed FOR EACH STATEMENT WHEN ((current_setting('casq.asked'::text, true) <> ''::text)) EXECUTE FUNCTION casq.record_change('rows');

CREATE TRIGGER on_timeline AFTER INSERT ON casq.timelines FOR EACH ROW EXECUTE FUNCTION casq.on_timeline();

CREATE TRIGGER counting_begins AFTER INSERT OR DELETE OR UPDATE ON casq.tracked FOR EACH ROW EXECUTE FUNCTION casq.begin_counting();

---- Event triggers

CREATE EVENT TRIGGER casq_ddl ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'ALTER SCHEMA', 'ALTER TYPE', 'CREATE SUBSCRIPTION', 'ALTER SUBSCRIPTION')
    EXECUTE FUNCTION casq.on_ddl();
-- enabled: A

CREATE EVENT TRIGGER casq_drop ON sql_drop
    EXECUTE FUNCTION casq.on_drop();
-- enabled: A

CREATE EVENT TRIGGER casq_rewrite ON table_rewrite
    EXECUTE FUNCTION casq.on_rewrite();
-- enabled: A

---- Grants

REVOKE ALL ON FUNCTION casq.add_build(pipeline bigint, name text, job jsonb, tags text[], needs bigint[], stage text, priority integer, timeout integer, allow_failure boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.admit_builds() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.admit_builds(project bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.apply_source_changes(sources integer[], notes jsonb[], most integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.backfill_page(kind text, after text, page_size integer, OUT n bigint, OUT last_key text, OUT busy text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.backfill_rows(kind text, keys text[], wait boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.begin_artifact(key text, build bigint, attempt integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.begin_counting() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.begin_pipeline(project bigint, ref text, sha text) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.begin_server_timeline() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.cancel_build(build bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.check_build() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.check_scopes(kind text, scopes text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.compare_view(kind text) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.compare_views(anew boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.count_rows(kind text) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.do_view(kind text, compare_after interval, most integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.draw_event_id() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.follows_views() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.forget_follower(name text) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.has_scope(kind text, scope_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.leave_artifact() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.on_ddl() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.on_drop() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.on_rewrite() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.on_timeline() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.prune_events(after bigint, batch integer, OUT pruned bigint, OUT last_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.prune_source_changes(batch integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.prune_ticks(retention interval, batch integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.record_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.release_builds() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.report_follower(name text, tick bigint, nonce uuid, resources bigint, bytes numeric) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.resources(kind text, after text, page_size integer, selected text[], most_bytes bigint, OUT listed boolean, OUT keys text[], OUT payloads text[], OUT scopes text[], OUT last_key text, OUT timeline integer, OUT timeline_id uuid, OUT tick bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.resources_missing(kind text, asked text[], selected text[], OUT listed boolean, OUT keys text[], OUT timeline integer, OUT timeline_id uuid, OUT tick bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.resources_of(kind text, asked text[], selected text[], most_bytes bigint, OUT listed boolean, OUT keys text[], OUT payloads text[], OUT scopes text[], OUT answered integer, OUT timeline integer, OUT timeline_id uuid, OUT tick bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.retry_build(build bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.scopes_of(kind text, parent text) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.signal_builds(subject text, payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.signal_freed_runner() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.signal_inserted_builds() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.signal_queued_build() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.signal_runner() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.sum_beyond(kind text, after_scope text, most integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.sum_by_scope(kind text, scopes text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.total(INOUT kind text, parent text, OUT parent_id text, OUT size numeric, OUT items bigint, OUT scopes bigint, OUT exact boolean, OUT as_of_tick bigint, OUT as_of timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.totals(INOUT kind text, OUT parent_id text, OUT size numeric, OUT items bigint, OUT scopes bigint, OUT exact boolean, OUT as_of_tick bigint, OUT as_of timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.touch(kind text, key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.views_behind() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.watch_sources() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.watch_tables() FROM PUBLIC;

REVOKE ALL ON FUNCTION casq.why_build(build bigint) FROM PUBLIC;
