-- The registry, and what this site has of each kind.
--
-- Lock: ACCESS EXCLUSIVE on river.river_job, for moments: River's migrations have
-- just made it. Deploy: at any time.

-- The jobs of a resource that have not ended, for casq.why, resyncs, moves and cancels.
--
-- It stands in for River's two GIN indexes. Nothing reads the one of the metadata.
-- The one of the arguments could answer this, but keeps a key for each version
-- that ever was, which vacuum never takes out: it grows while the jobs get fewer,
-- and each insert pays for it. With 20,000 jobs that were worked off and deleted
-- eighteen times over, with a vacuum each time, it had 39 MB and got 1.9 MB more each
-- time; this index had 2.5 MB, and kept them. River is told not to rebuild the two
-- (jobs.ReindexerIndexNames). Who wants them, for queries of his own, makes them again
-- under River's names: nothing takes them away.
CREATE INDEX casq_job_of_resource ON river.river_job
    (((args ->> 'resource_id') COLLATE "C"), (args ->> 'kind')) WHERE finalized_at IS NULL;
DROP INDEX IF EXISTS river.river_job_args_index;
DROP INDEX IF EXISTS river.river_job_metadata_index;

-- One row per worker process. A claim is live while its process's row is here
-- and not dead: one small update per process and beat instead of one per
-- claim. River knows the process by the same id. A process that finds its row
-- dead or gone cancels all of its work and goes on under a new id.
CREATE TABLE casq.processes (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat bigint NOT NULL DEFAULT 0,
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dead_at timestamptz
) WITH (fillfactor = 50);

COMMENT ON TABLE casq.processes IS
    'The worker processes that work on jobs, each with its last sign of life. What a dead one '
    'had claimed is handed on.';
COMMENT ON COLUMN casq.processes.id IS 'also its name among River''s clients';
COMMENT ON COLUMN casq.processes.host IS 'its machine';
COMMENT ON COLUMN casq.processes.pid IS 'its number there';
COMMENT ON COLUMN casq.processes.started_at IS 'when it began';
COMMENT ON COLUMN casq.processes.beat IS 'rises with each sign of life';
COMMENT ON COLUMN casq.processes.beat_at IS 'when it gave the last one';
COMMENT ON COLUMN casq.processes.dead_at IS 'when another one found that it gives none any more';

CREATE SEQUENCE casq.registry_version;

-- One row per resource. What is wanted, what was achieved and which run is at work are
-- separate columns, and the status is derived from them: see
-- casq.registry_status. There is no state to be stuck in.
CREATE TABLE casq.registry (
    kind text COLLATE "C" NOT NULL REFERENCES casq.kinds,
    resource_id text COLLATE "C" NOT NULL,

    -- Intent. version is the token that jobs carry.
    version bigint NOT NULL DEFAULT nextval('casq.registry_version'),
    timeline integer NOT NULL,
    event_id bigint NOT NULL,
    tick bigint NOT NULL,
    deleted_at timestamptz,
    incarnation bigint NOT NULL DEFAULT 1,
    payload jsonb NOT NULL,
    -- As of the newest event, or page of the source. NULL: the kind has none; '': the resource has none.
    -- Nothing is decided by it; it is there to be read.
    scope_id text COLLATE "C",
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    -- Progress. synced_incarnation tells whether what is in place belongs to
    -- an earlier incarnation of the key, also when its delete was collapsed away.
    synced_version bigint,
    synced_incarnation bigint,
    checksum text,
    -- What the source had, by its own name for it, where the copy does not tell.
    source_state text,
    size bigint,
    verified_at timestamptz,
    -- What was in place, and wanted, when an event has last deleted the resource; NULL:
    -- nothing. See casq.moves.
    left_incarnation bigint,
    -- When a reconcile has last asked for what is in place to be compared; of no
    -- meaning unless it is later than verified_at.
    check_asked_at timestamptz,

    -- Attempt.
    claim uuid,
    claim_process uuid,
    claim_job bigint,
    -- The claim that was given back last. Its process may have died before it
    -- removed its staging.
    last_claim uuid,
    asked boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    failed_version bigint,
    last_error text,
    -- What the errors of failed_version that have one cause have in common.
    failure_reason text COLLATE "C",
    retry_at timestamptz,
    -- Since when the source does not have the resource, as the attempts of
    -- failed_version found; of no meaning under another version. It is tried
    -- again, ever more rarely, for as long as it is wanted.
    missing_since timestamptz,
    -- Whether that is no failure, as the kind said when it was found (casq.kinds.missing);
    -- of no meaning under another version.
    absent boolean NOT NULL DEFAULT false,

    -- When a probe last found the source to have nothing else than what is in place, or
    -- nothing of what is absent; and the version that one has asked for.
    compared_at timestamptz,
    probed_version bigint,
    -- The newest job of a dead process that was handed on for this row. Of
    -- several that sweep at once, the first queues another job.
    swept_job bigint,

    PRIMARY KEY (kind, resource_id),
    CONSTRAINT registry_claim_is_complete CHECK ((claim IS NULL) = (claim_process IS NULL)),
    CONSTRAINT registry_synced_not_beyond_version CHECK (synced_version <= version),
    CONSTRAINT registry_failed_not_beyond_version CHECK (failed_version <= version),
    CONSTRAINT registry_asked_needs_a_claim CHECK (claim IS NOT NULL OR NOT asked)
) WITH (fillfactor = 50);

COMMENT ON TABLE casq.registry IS
    'A row for each resource, with all that casq knows of it: read casq.registry_status. Not '
    'to be changed by hand.';
-- The oldest tombstones are found without a walk over what lives.
CREATE INDEX registry_tombstones ON casq.registry (deleted_at) WHERE deleted_at IS NOT NULL;

-- The state that a row has by itself, whether or not a process is at work on it.
CREATE FUNCTION casq.base_state(version bigint, synced_version bigint, failed_version bigint, absent boolean, deleted boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN synced_version = version THEN CASE WHEN deleted THEN 'removed' ELSE 'synced' END
        WHEN failed_version = version THEN CASE WHEN absent THEN 'absent' ELSE 'failed' END
        WHEN deleted THEN 'removing'
        ELSE 'pending'
    END
$$;

-- The status of a row that has this state, or one like it: a live process that has the
-- claim makes it. What is absent stays so while it is looked at again.
CREATE FUNCTION casq.status_of(state text, deleted boolean, claimed boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN claimed AND state NOT IN ('synced', 'removed', 'absent')
                THEN CASE WHEN deleted THEN 'removing' ELSE 'started' END
                ELSE state END
$$;

-- What is missing at the source: WHERE missing_since IS NOT NULL.
CREATE VIEW casq.registry_status AS
SELECT r.kind, r.resource_id,
       casq.status_of(casq.base_state(r.version, r.synced_version, r.failed_version, r.absent, r.deleted_at IS NOT NULL),
                      r.deleted_at IS NOT NULL, p.id IS NOT NULL) AS status,
       r.version, r.synced_version, r.attempts, r.last_error, r.retry_at,
       p.id AS claim_process, r.deleted_at, r.queued_at,
       CASE WHEN r.failed_version = r.version AND r.synced_version IS DISTINCT FROM r.version
            THEN r.missing_since END AS missing_since,
       r.compared_at
FROM casq.registry AS r
LEFT JOIN casq.processes AS p ON p.id = r.claim_process AND p.dead_at IS NULL;

COMMENT ON VIEW casq.registry_status IS
    'A row for each resource: what is wanted of it, and how far that is. Ask for one by kind '
    'and resource_id, or for a kind by pages in the order of resource_id; how many there are '
    'of each status is kept in casq.registry_summary.';
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
COMMENT ON COLUMN casq.registry_status.compared_at IS 'when a probe last found the source to be as it is here: it was so then, or later; NULL: no probe has (casq.kinds.probe)';
COMMENT ON COLUMN casq.registry_status.missing_since IS 'since when the source does not have its bytes; NULL: they were not missed';

-- How many resources are in which state: kept, not counted. Whoever changes the registry,
-- a worker or somebody by hand, writes the difference in the same transaction. So the sum
-- is exact as of its reader's snapshot, and costs the same however large the registry is.
--
-- Differences are appended, so that no transaction waits for another one's; workers move
-- them into the sums (registry.Process). At any time both together are the truth.
--
-- A group is the rows of a kind that are in one state, have failed for one reason, were
-- last asked for within the same ten seconds (since), and are claimed by one process. The
-- last two are kept of what is still to be done only, and the ten seconds of what has not
-- failed: there are about as many groups as there are ten seconds with something left.
CREATE TABLE casq.registry_counts (
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL, -- casq.base_state
    deleted boolean NOT NULL,
    reason text COLLATE "C",
    since timestamptz,
    process uuid,
    count bigint NOT NULL,
    bytes numeric NOT NULL, -- in place
    asked numeric NOT NULL DEFAULT 0, -- casq.bytes_asked
    first_at timestamptz, -- when rows came into the group
    last_at timestamptz,
    CONSTRAINT registry_counts_group UNIQUE NULLS NOT DISTINCT (kind, state, deleted, reason, since, process)
);
CREATE TABLE casq.registry_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    deleted boolean NOT NULL,
    reason text COLLATE "C",
    since timestamptz,
    process uuid,
    count bigint NOT NULL,
    bytes numeric NOT NULL,
    asked numeric NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The rest of a row's group, by its state.
CREATE FUNCTION casq.count_group(state text, failure_reason text, queued_at timestamptz, claim_process uuid)
RETURNS TABLE (reason text, since timestamptz, process uuid)
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN state = 'failed' THEN failure_reason END,
           CASE WHEN state IN ('pending', 'removing') THEN date_bin('10 s', queued_at, 'epoch') END,
           CASE WHEN state NOT IN ('synced', 'removed', 'absent') THEN claim_process END
$$;

-- The bytes that were asked for of a resource that is wanted and not in place, as far as its
-- payload tells a size.
CREATE FUNCTION casq.bytes_asked(state text, payload jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN state IN ('pending', 'failed') AND jsonb_typeof(payload -> 'size') = 'number'
                THEN greatest(0, (payload ->> 'size')::numeric) ELSE 0 END
$$;

CREATE FUNCTION casq.keep_counts() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

CREATE TRIGGER keep_counts_insert AFTER INSERT ON casq.registry
    REFERENCING NEW TABLE AS casq_new FOR EACH STATEMENT EXECUTE FUNCTION casq.keep_counts();
CREATE TRIGGER keep_counts_update AFTER UPDATE ON casq.registry
    REFERENCING OLD TABLE AS casq_old NEW TABLE AS casq_new FOR EACH STATEMENT EXECUTE FUNCTION casq.keep_counts();
CREATE TRIGGER keep_counts_delete AFTER DELETE ON casq.registry
    REFERENCING OLD TABLE AS casq_old FOR EACH STATEMENT EXECUTE FUNCTION casq.keep_counts();
ALTER TABLE casq.registry ENABLE ALWAYS TRIGGER keep_counts_insert;
ALTER TABLE casq.registry ENABLE ALWAYS TRIGGER keep_counts_update;
ALTER TABLE casq.registry ENABLE ALWAYS TRIGGER keep_counts_delete;

CREATE FUNCTION casq.forget_counts() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM casq.registry_counts;
    DELETE FROM casq.registry_changes;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_counts AFTER TRUNCATE ON casq.registry FOR EACH STATEMENT EXECUTE FUNCTION casq.forget_counts();
ALTER TABLE casq.registry ENABLE ALWAYS TRIGGER forget_counts;

-- The groups that have rows, sums and changes together.
CREATE VIEW casq.registry_groups AS
SELECT g.kind, g.state, g.deleted, g.reason, g.since, g.process,
       sum(g.count)::bigint AS count, sum(g.bytes) AS bytes, min(g.first_at) AS first_at, max(g.last_at) AS last_at
FROM (
    SELECT c.kind, c.state, c.deleted, c.reason, c.since, c.process, c.count, c.bytes, c.first_at, c.last_at
    FROM casq.registry_counts AS c
    UNION ALL
    SELECT d.kind, d.state, d.deleted, d.reason, d.since, d.process, d.count, d.bytes,
           CASE WHEN d.count > 0 THEN d.at END, CASE WHEN d.count > 0 THEN d.at END
    FROM casq.registry_changes AS d
) AS g
GROUP BY g.kind, g.state, g.deleted, g.reason, g.since, g.process
HAVING sum(g.count) <> 0;

COMMENT ON VIEW casq.registry_groups IS
    'The kept counts that casq.registry_summary and casq.registry_failures add up, at most '
    'some hundred rows in quiet times.';
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

-- Copies that stay until their resources are in place under other keys (casq.moves): these
-- removals are not late.
CREATE FUNCTION casq.kept_copies() RETURNS TABLE (kind text, since timestamptz, process uuid)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    RETURN QUERY SELECT r.kind, g.since, g.process
    FROM (SELECT DISTINCT m.kind, m.base_id, m.base_incarnation FROM casq.moves AS m) AS m
    CROSS JOIN LATERAL (
        SELECT * FROM casq.registry AS r
        WHERE r.kind = m.kind AND r.resource_id = m.base_id AND r.synced_incarnation = m.base_incarnation LIMIT 1
    ) AS r
    CROSS JOIN LATERAL casq.count_group('removing', NULL, r.queued_at, r.claim_process) AS g
    WHERE r.deleted_at IS NOT NULL AND r.synced_version IS DISTINCT FROM r.version AND r.failed_version IS DISTINCT FROM r.version;
END $$;

-- How many resources of a kind have which status, and the bytes that are in place of
-- them. oldest: since when, to ten seconds, the one waits that has waited longest; NULL
-- for what waits for nothing.
CREATE VIEW casq.registry_summary AS
SELECT g.kind, casq.status_of(g.state, g.deleted, p.id IS NOT NULL) AS status,
       sum(g.count)::bigint AS count, sum(g.bytes)::bigint AS bytes, min(g.since) AS oldest
FROM casq.registry_groups AS g
LEFT JOIN casq.processes AS p ON p.id = g.process AND p.dead_at IS NULL
GROUP BY 1, 2;

COMMENT ON VIEW casq.registry_summary IS
    'How many resources of a kind have which status. The counts are kept, in the transactions '
    'that change resources: exact as of the reader''s snapshot, and as cheap for ten million '
    'as for ten.';
COMMENT ON COLUMN casq.registry_summary.kind IS 'its kind';
COMMENT ON COLUMN casq.registry_summary.status IS 'as in casq.registry_status';
COMMENT ON COLUMN casq.registry_summary.count IS 'how many resources';
COMMENT ON COLUMN casq.registry_summary.bytes IS 'of what is in place of them';
COMMENT ON COLUMN casq.registry_summary.oldest IS 'when the one that has waited longest was asked for, to ten seconds; NULL of what is done, or has failed';

-- What has failed, by what the errors have in common: when a resource failed so first and
-- last, since there have been any. A reason is SELECT ... FROM casq.registry WHERE
-- failure_reason = ... AND failed_version = version.
CREATE VIEW casq.registry_failures AS
SELECT g.kind, coalesce(g.reason, 'unknown') AS reason, sum(g.count)::bigint AS count,
       min(g.first_at) AS first_seen, max(g.last_at) AS last_seen
FROM casq.registry_groups AS g
WHERE g.state = 'failed'
GROUP BY 1, 2;

COMMENT ON VIEW casq.registry_failures IS
    'What has failed, in groups of errors that have one cause. Its resources: SELECT '
    'resource_id FROM casq.registry WHERE kind = ... AND failure_reason = ... AND '
    'failed_version = version.';
COMMENT ON COLUMN casq.registry_failures.kind IS 'its kind';
COMMENT ON COLUMN casq.registry_failures.reason IS 'what the errors have in common';
COMMENT ON COLUMN casq.registry_failures.count IS 'how many resources';
COMMENT ON COLUMN casq.registry_failures.first_seen IS 'when a resource first failed so, since there have been any';
COMMENT ON COLUMN casq.registry_failures.last_seen IS 'when one last did';

-- The tick, in home's terms, at or below which tombstones of a kind may be gone:
-- a page of the source that was read at an older tick can show resources that were
-- deleted since, without anything here to say so. It is thrown away. A purge holds the
-- row FOR UPDATE, a transaction that adds resources which a page showed holds
-- it FOR SHARE; both lock it before they lock rows of the registry.
CREATE TABLE casq.registry_floors (
    kind text COLLATE "C" PRIMARY KEY,
    timeline integer NOT NULL,
    tick bigint NOT NULL
);

-- What this site has of a kind, by the scopes of its resources; of a kind without a row
-- it has everything. Change it with enqueue select: a change also has to be ordered
-- with batches of the log, and applied to what is there.
CREATE TABLE casq.selections (
    kind text COLLATE "C" PRIMARY KEY,
    scopes text[] COLLATE "C" -- NULL: all of them; empty: nothing
        CONSTRAINT selections_scopes_are_texts CHECK (array_position(scopes, NULL) IS NULL),
    generation bigint NOT NULL DEFAULT 1, -- rises with each change
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE casq.selections IS
    'What this site has of a kind, by the scopes of its resources; of a kind without a row it '
    'has everything. Change it with enqueue select.';
COMMENT ON COLUMN casq.selections.kind IS 'its kind';
COMMENT ON COLUMN casq.selections.scopes IS 'scopes that it has; NULL: all; empty: nothing';
COMMENT ON COLUMN casq.selections.generation IS 'rises with each change';
COMMENT ON COLUMN casq.selections.changed_at IS 'when it was last changed';

-- Does this site want what is in a scope (NULL: in none) of a kind?
CREATE FUNCTION casq.selected(kind text, scope_id text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT s.scopes IS NULL OR coalesce(selected.scope_id = ANY (s.scopes), false)
        FROM casq.selections AS s WHERE s.kind = selected.kind), true)
$$;

-- Which folder or bucket is this site's target, by transfer: the one whose mark
-- (.casq/target) has the same id. marked_at is NULL until the mark has been made;
-- place is where that was, for an operator who has to find it.
CREATE TABLE casq.targets (
    transfer text COLLATE "C" PRIMARY KEY,
    id uuid NOT NULL,
    place text NOT NULL,
    marked_at timestamptz
);

COMMENT ON TABLE casq.targets IS
    'Which folder or bucket is this site''s target, by transfer: the one whose mark, '
    '.casq/target, has the id. See casq.replace_target.';
COMMENT ON COLUMN casq.targets.transfer IS 'file or git';
COMMENT ON COLUMN casq.targets.id IS 'what the mark says';
COMMENT ON COLUMN casq.targets.place IS 'where it was when it was marked';
COMMENT ON COLUMN casq.targets.marked_at IS 'when it was marked; NULL: not yet';

-- Has the next folder or bucket without a mark taken for the target of a transfer,
-- and everything in it compared by content: what it lacks is copied again.
CREATE FUNCTION casq.replace_target(transfer text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM casq.targets AS t WHERE t.transfer = replace_target.transfer;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this site has no target of transfer %', coalesce(quote_literal(transfer), 'NULL')
            USING HINT = 'SELECT * FROM casq.targets';
    END IF;
    INSERT INTO casq.reconcile_runs (reason, walk, lost_since) VALUES ('asked', true, 'epoch');
END
$$;
COMMENT ON FUNCTION casq.replace_target IS
    'Gives up this site''s target of a transfer: the next folder or bucket without a mark is '
    'taken for it, and everything is compared by content, and copied again where it differs. '
    'Errors where the site has none of that transfer.';

-- Refuses to end or change a kind while rows, jobs and runs go by what it was: a run
-- that is not over would write to the old place, and its row would say synced. So this
-- holds also for statements by hand; the commands of the hints bring about what is asked
-- for here.
--
-- Rows are locked in key order, as everywhere. A claim is granted under
-- its row's lock, and reads the kind after it has the lock.
CREATE FUNCTION casq.guard_kind() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

CREATE TRIGGER guard_kind BEFORE UPDATE OR DELETE ON casq.kinds
    FOR EACH ROW EXECUTE FUNCTION casq.guard_kind();

-- Refuses to end a kind on this site while a table is tracked as it, and while events of it
-- are still to be read here. What batches and pages have written before is seen, and later
-- ones see what is done here.
CREATE FUNCTION casq.check_drop(kind text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Forgets at most so many resources of a kind that is to be dropped, and what is queued for
-- them: what is in place stays, and is of no row; a run that is under way finds no row, and
-- writes nothing. Returns how many; repeated until it is 0, a kind of any size is
-- forgotten in short transactions. It is refused like the end itself.
CREATE FUNCTION casq.forget_resources(kind text, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.forget_resources IS
    'Forgets at most so many resources of a kind that is to be dropped, and returns how many: '
    'what is in place stays, and belongs to no resource. enqueue kind drop --keep repeats it '
    'until nothing is left. Errors: as of casq.drop_kind.';

-- Ends a kind on this site: it is not known any more, and another may have its place. It
-- is refused while a table is tracked as the kind, while events of it are still to be
-- read, and while it has resources here (enqueue kind drop --remove removes
-- them). With keep their rows are forgotten instead, all in this transaction. Its counters
-- and recounts go with it, and its queue, unless another kind has the same. That it was
-- counted once is kept: a table that is tracked as the kind again is recounted. Returns
-- how many resources were forgotten.
CREATE FUNCTION casq.drop_kind(kind text, keep boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.drop_kind IS
    'Ends a kind on this site, with its counters and its queue, and returns how many resources '
    'were forgotten. With keep, what is in place stays and belongs to no resource; without, it '
    'is refused while there are resources (enqueue kind drop --remove removes them before). '
    'Errors: dependent_objects_still_exist while a table is tracked as it, or there are '
    'resources; object_in_use while events of it are unread; undefined_object.';

---- create above / drop below ----

-- Lock: all of it. Deploy: with no worker running. What is in place stays there;
-- the next registry finds it by comparing with the source.
DROP FUNCTION casq.replace_target(text);
DROP TABLE casq.targets;
DROP FUNCTION casq.drop_kind(text, boolean);
DROP FUNCTION casq.forget_resources(text, integer);
DROP FUNCTION casq.check_drop(text);
DROP TRIGGER guard_kind ON casq.kinds;
DROP FUNCTION casq.guard_kind();
DROP FUNCTION casq.selected(text, text);
DROP TABLE casq.selections;
DROP TABLE casq.registry_floors;
DROP VIEW casq.registry_failures;
DROP VIEW casq.registry_summary;
DROP FUNCTION casq.kept_copies();
DROP VIEW casq.registry_groups;
DROP VIEW casq.registry_status;
DROP FUNCTION casq.status_of(text, boolean, boolean);
DROP TABLE casq.registry;
DROP FUNCTION casq.forget_counts();
DROP FUNCTION casq.keep_counts();
DROP FUNCTION casq.bytes_asked(text, jsonb);
DROP FUNCTION casq.base_state(bigint, bigint, bigint, boolean, boolean);
DROP FUNCTION casq.count_group(text, text, timestamptz, uuid);
DROP TABLE casq.registry_changes;
DROP TABLE casq.registry_counts;
DROP SEQUENCE casq.registry_version;
DROP TABLE casq.processes;

CREATE INDEX IF NOT EXISTS river_job_metadata_index ON river.river_job USING GIN (metadata);
CREATE INDEX IF NOT EXISTS river_job_args_index ON river.river_job USING GIN (args);
DROP INDEX river.casq_job_of_resource;
