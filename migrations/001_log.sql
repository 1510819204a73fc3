-- The log: kinds, events, timelines, ticks, and the cursors of those who read it.
--
-- Lock: none on existing objects. Deploy: at any time.

-- A kind of resource. A site keeps the files of a kind below prefix. Kinds of one
-- transfer may share a tree, as repositories and their wikis do; of two resources that
-- would share a place one is refused: see casq.place_holders. source_prefix is the folder that
-- its keys are relative to where they come from.
--
-- Each site goes by its own rows: it learns a kind from its source once, and may
-- keep it elsewhere later (enqueue kind move).
CREATE TABLE casq.kinds (
    kind text COLLATE "C" PRIMARY KEY
        CONSTRAINT kinds_kind_is_a_name CHECK (kind ~ '^[a-z][a-z0-9_]{0,39}$'),
    transfer text NOT NULL
        CONSTRAINT kinds_transfer_is_known CHECK (transfer IN ('file', 'git', 'none')),
    queue text NOT NULL
        CONSTRAINT kinds_queue_is_a_name CHECK (queue ~ '^[a-z0-9]+([_-][a-z0-9]+)*$'
                                                AND length(queue) <= 64)
        -- River has one of that name, and casq's own begin so.
        CONSTRAINT kinds_queue_is_its_own CHECK (queue <> 'default' AND queue NOT LIKE 'casq\_%'),
    prefix text COLLATE "C"
        CONSTRAINT kinds_prefix_only_with_bytes CHECK ((prefix IS NULL) = (transfer = 'none')),
    source_prefix text COLLATE "C"
        CONSTRAINT kinds_source_prefix_only_with_bytes CHECK ((source_prefix IS NULL) = (transfer = 'none')),
    -- Options, that each site may change for itself: enqueue kind set.
    missing text NOT NULL DEFAULT 'failed'
        CONSTRAINT kinds_missing_is_known CHECK (missing IN ('failed', 'absent')),
    quiet interval NOT NULL DEFAULT '0'
        CONSTRAINT kinds_quiet_is_short CHECK (quiet BETWEEN '0' AND '1 minute'),
    probe interval NOT NULL DEFAULT '0'
        CONSTRAINT kinds_probe_is_a_pace CHECK (probe = '0' OR probe BETWEEN '1 second' AND '30 days'),
    CONSTRAINT kinds_looks_only_for_bytes CHECK (transfer <> 'none' OR missing = 'failed' AND probe = '0')
);

COMMENT ON TABLE casq.kinds IS
    'The kinds of resources that are known here. Made by casq.track or casq.define_kind; '
    'changed, moved and ended by enqueue kind.';
COMMENT ON COLUMN casq.kinds.kind IS 'its name';
COMMENT ON COLUMN casq.kinds.transfer IS 'file, git, or none: nothing is copied, only counted';
COMMENT ON COLUMN casq.kinds.queue IS 'River queue of its jobs';
COMMENT ON COLUMN casq.kinds.prefix IS 'folder at this site''s target, which has its copies';
COMMENT ON COLUMN casq.kinds.source_prefix IS 'folder that its keys are relative to where they come from';
COMMENT ON COLUMN casq.kinds.missing IS 'what a resource is whose bytes the source does not have: failed, or absent, which is no failure';
COMMENT ON COLUMN casq.kinds.quiet IS 'what changes often is copied when it has not changed for so long; 0: at once';
COMMENT ON COLUMN casq.kinds.probe IS 'how often what is in place is compared with the source, for changes that no row tells; 0: never';

-- The columns xid and id stay in this order: a row's transaction id is
-- assigned before its event id is drawn, which is what makes ticks.low_id a
-- lower bound. CACHE 1 for the same reason.
CREATE TABLE casq.events (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL
        CONSTRAINT events_resource_id_length CHECK (octet_length(resource_id) BETWEEN 1 AND 1024),
    op text NOT NULL
        CONSTRAINT events_op_is_known CHECK (op IN ('created', 'updated', 'deleted')),
    -- Of a backfill: nothing has happened to it now. Its job yields to those of other
    -- events. Before a bigint its byte costs one event of eight another eight.
    bulk boolean NOT NULL DEFAULT false,
    -- What counts by scope has it in indexes, which take 2.7 kB.
    scope_id text COLLATE "C"
        CONSTRAINT events_scope_id_length CHECK (octet_length(scope_id) <= 1024),
    -- Of a row whose key has changed: the other key of the two. Empty and not NULL: a NULL
    -- in it would make the header of each event eight bytes longer that has a scope.
    moved text COLLATE "C" NOT NULL DEFAULT ''
        CONSTRAINT events_moved_is_a_key CHECK (moved = '' OR op <> 'updated' AND octet_length(moved) <= 1024),
    size_delta bigint NOT NULL DEFAULT 0,
    item_delta bigint NOT NULL DEFAULT 0,
    payload jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT events_payload_is_an_object CHECK (jsonb_typeof(payload) = 'object'),
    -- A time that no program can read would stop every reader of the log, and
    -- no consumer could dead-letter the event.
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp()
        CONSTRAINT events_occurred_at_is_finite CHECK (isfinite(occurred_at)),
    PRIMARY KEY (xid, id)
);

COMMENT ON TABLE casq.events IS
    'The log: what has happened to resources, appended by the triggers of tracked tables and '
    'by casq.append_event, in the transactions that do it. Rows are not changed; those that '
    'everybody has read are removed after EVENT_RETENTION.';
COMMENT ON COLUMN casq.events.xid IS 'transaction that has appended it';
COMMENT ON COLUMN casq.events.id IS 'drawn in the order of the statements, not of the commits';
COMMENT ON COLUMN casq.events.kind IS 'its kind';
COMMENT ON COLUMN casq.events.resource_id IS 'key of the resource, 1 to 1024 bytes';
COMMENT ON COLUMN casq.events.op IS 'created, updated, deleted';
COMMENT ON COLUMN casq.events.bulk IS 'whether it comes from a backfill, and yields to others';
COMMENT ON COLUMN casq.events.scope_id IS 'what it is counted under, up to 1024 bytes; NULL: nothing';
COMMENT ON COLUMN casq.events.moved IS
    'of a resource that has got another key: the new key where deleted, the old one where created; else empty';
COMMENT ON COLUMN casq.events.size_delta IS 'added to the scope''s size';
COMMENT ON COLUMN casq.events.item_delta IS 'added to the scope''s items';
COMMENT ON COLUMN casq.events.payload IS 'what the copy needs to know, an object, such as the SHA-256';
COMMENT ON COLUMN casq.events.occurred_at IS 'when it was appended, by the database''s clock';
-- It is the writer's own, whatever he says: a reader would not find an event of
-- another one, and one of the future stops the ticker. Not valid, so that a dump
-- can be restored: it is added after the data.
ALTER TABLE casq.events ADD CONSTRAINT events_xid_is_the_writers CHECK (xid = pg_current_xact_id()) NOT VALID;
CREATE INDEX events_id ON casq.events (id);

CREATE FUNCTION casq.refuse_event_update() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'casq: events are only inserted, an update would be seen by nobody'
        USING ERRCODE = 'feature_not_supported',
              HINT = 'Append a new event with casq.append_event.';
END $$;

CREATE TRIGGER events_are_only_inserted BEFORE UPDATE ON casq.events
    FOR EACH STATEMENT EXECUTE FUNCTION casq.refuse_event_update();

-- Sets an event's id from the sequence, whatever its writer says. An id of the
-- future would never be read, and that of another transaction would hide the
-- other's event, where a page of the log ends between the two.
CREATE FUNCTION casq.draw_event_id() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.id := nextval('casq.events_id_seq');
    RETURN NEW;
END $$;

-- Only for a role that has INSERT on all columns and could not set the sequence:
-- that is never the trigger of a tracked table, whose events would cost half as much
-- again (5 us of 15, in bulk).
CREATE TRIGGER events_draw_their_id BEFORE INSERT ON casq.events
    FOR EACH ROW WHEN (NOT has_sequence_privilege('casq.events_id_seq'::regclass, 'UPDATE'))
    EXECUTE FUNCTION casq.draw_event_id();

-- What has changed in the tables that tracked views are made of, noted by a trigger on
-- each of them: see casq.track_view. One consumer reads it, by the ticks by which events
-- are read, and it is removed when that is past it. Ids come from the events'
-- sequence, so that what ticks say of those holds for these.
CREATE TABLE casq.source_changes (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint NOT NULL DEFAULT nextval('casq.events_id_seq'),
    source integer NOT NULL, -- casq.sources.id
    -- An array of what the views' queries name of the rows, old and new; NULL: any row may have changed.
    rows jsonb,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (xid, id)
);
CREATE INDEX source_changes_id ON casq.source_changes (id);

COMMENT ON TABLE casq.source_changes IS
    'What has changed in the sources of tracked views, and is not read yet by the consumer '
    'that evaluates the views.';

-- What tells this installation from any other, also where a server was set up as
-- a copy of another one and has its system identifier. And which programs work on this
-- schema: those that know the migration oldest_program, or newer ones.
CREATE TABLE casq.installation (
    one boolean PRIMARY KEY DEFAULT true
        CONSTRAINT installation_is_one CHECK (one),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    oldest_program integer NOT NULL DEFAULT 0
);
INSERT INTO casq.installation DEFAULT VALUES;

COMMENT ON TABLE casq.installation IS 'What this installation is, in its only row.';
COMMENT ON COLUMN casq.installation.id IS 'tells it from any other one, also from a copy';
COMMENT ON COLUMN casq.installation.oldest_program IS 'programs that know this migration, or a newer one, work on the schema';

-- A timeline of the log: from one promotion of the source to the next. After a
-- failover that lost WAL, Postgres issues tick ids, event ids and transaction
-- ids again; the timeline and the ticks' nonces tell the two apart.
CREATE TABLE casq.timelines (
    timeline integer PRIMARY KEY CHECK (timeline > 0),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    system_identifier bigint NOT NULL,
    server_timeline integer NOT NULL,
    began_tick bigint NOT NULL,
    began_lsn pg_lsn NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A tick is a point in the primary's commit history. low_id and high_id bound
-- the ids of events: no event visible in the snapshot has a higher id than
-- high_id, and every event whose xid is not below the snapshot's xmax has a
-- higher id than low_id.
--
-- low_id is the high_id of the tick before, not the newest id at this one: a
-- snapshot's xmax is the newest *completed* xid plus one, so a transaction
-- above it may have been running, and drawing ids, before the snapshot. But its
-- xid is newer than that of the tick before, which has completed, and that tick
-- read its high_id before it was given its xid.
CREATE TABLE casq.ticks (
    id bigint PRIMARY KEY CHECK (id >= 0),
    nonce uuid NOT NULL DEFAULT gen_random_uuid(),
    timeline integer NOT NULL REFERENCES casq.timelines,
    snapshot pg_snapshot NOT NULL,
    low_id bigint NOT NULL,
    high_id bigint NOT NULL,
    lsn pg_lsn NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE casq.ticks IS
    'Marks in the log, taken by a worker at the primary while there are events, and each ten '
    'seconds otherwise: whoever follows the log reads from tick to tick.';

-- The newest tick that this host shows. What it shows of a tracked table in the
-- same snapshot is not older than that.
CREATE FUNCTION casq.newest_tick(OUT timeline integer, OUT timeline_id uuid, OUT tick bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_sort = off AS $$
    SELECT l.timeline, l.id, t.id FROM casq.ticks AS t JOIN casq.timelines AS l ON l.timeline = t.timeline
    ORDER BY t.id DESC LIMIT 1
$$;

-- Is there an event, or a change of a source, that newer shows and older does not? Four index look-ups
-- per open transaction: the rows of a transaction that is still open are never
-- visited, so a writer with a million rows costs nothing here.
--
-- LIMIT 1 and the settings leave the planner no other way, whatever its statistics
-- say: to ANALYZE those million rows are dead, and to find one
-- transaction among the three that were left it read all of the index.
CREATE FUNCTION casq.events_between(older pg_snapshot, newer pg_snapshot) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
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
$$;

CREATE FUNCTION casq.last_event_id() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM casq.events_id_seq
$$;

-- Takes a tick when there is something to show, and returns its id; NULL when
-- there was nothing to do or another session is at it.
--
-- One call is one transaction. Each statement below has a snapshot of its own
-- (READ COMMITTED), and the lock comes first, so ticks follow each other in
-- the order of their snapshots.
CREATE FUNCTION casq.tick(force boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Appends one event to the caller's transaction, after the change that it
-- tells of, and returns its id.
CREATE FUNCTION casq.append_event(
    kind text,
    resource_id text,
    op text,
    payload jsonb DEFAULT '{}',
    scope_id text DEFAULT NULL,
    size_delta bigint DEFAULT 0,
    item_delta bigint DEFAULT 0,
    moved text DEFAULT ''
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.append_event IS
    'Appends an event by hand, for what no tracked table tells, and returns its id. Call it '
    'in the transaction that makes the change, after the change. op: created, updated, '
    'deleted. resource_id: 1 to 1024 bytes. size_delta and item_delta are added to the '
    'counters of scope_id. moved, where a resource gets another key: first the deleted event '
    'of the old key with the new one, then the created event of the new key with the old one; '
    'so the copy is moved, too. Errors: undefined_object for a kind that is not known; '
    'check_violation for what an event may not be.';

CREATE FUNCTION casq.prefixes_overlap(a text, b text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '' IN (a, b) OR starts_with(a || '/', b || '/') OR starts_with(b || '/', a || '/')
$$;

CREATE VIEW casq.neighbours AS
SELECT k.kind, o.kind AS neighbour
FROM casq.kinds AS k
JOIN casq.kinds AS o ON o.transfer = k.transfer AND o.kind <> k.kind AND casq.prefixes_overlap(k.prefix, o.prefix);

COMMENT ON VIEW casq.neighbours IS
    'Which kinds share a tree at this site''s target, since their prefixes overlap.';
COMMENT ON COLUMN casq.neighbours.kind IS 'a kind';
COMMENT ON COLUMN casq.neighbours.neighbour IS 'another one, of the same transfer';

-- The keys of a kind as those of the kinds that it shares a tree with, as far as they lie
-- in their folders.
CREATE FUNCTION casq.neighbour_keys(kind text, keys text[]) RETURNS TABLE (kind text, key text, theirs text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.kind, w.key, substr(place.path, length(folder.path) + 1)
    FROM casq.neighbours AS n
    JOIN casq.kinds AS k ON k.kind = n.kind
    JOIN casq.kinds AS o ON o.kind = n.neighbour
    CROSS JOIN unnest(neighbour_keys.keys) AS w (key)
    CROSS JOIN LATERAL (SELECT CASE WHEN k.prefix = '' THEN w.key ELSE k.prefix || '/' || w.key END) AS place (path)
    CROSS JOIN LATERAL (SELECT CASE WHEN o.prefix = '' THEN '' ELSE o.prefix || '/' END) AS folder (path)
    WHERE n.kind = neighbour_keys.kind AND starts_with(place.path, folder.path)
$$;

-- Refuses a kind whose queue is another's, or whose place cannot be one. A trigger
-- calls it, so that it holds however a kind is written, also where a site learns it from
-- its source. Of two that are written at once the second sees the first. That two kinds
-- share a tree is said, and allowed: whether their keys collide only the keys tell.
CREATE FUNCTION casq.check_kind(wanted casq.kinds) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

CREATE FUNCTION casq.check_kind() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM casq.check_kind(NEW);
    RETURN NEW;
END $$;

CREATE TRIGGER check_kind BEFORE INSERT OR UPDATE ON casq.kinds
    FOR EACH ROW EXECUTE FUNCTION casq.check_kind();

-- Makes a kind known. Its files live below prefix at each site that copies them, in
-- a folder of its own, named like the kind, unless told otherwise: with '' it has the
-- top. Where they come from the application has laid them out, so that keys are
-- relative to the top there, or to source_prefix.
--
-- Repeating a definition is harmless, and what it does not say of prefixes and options is
-- as it was. Changing one is refused: what was copied stays where it is, and sites that
-- have learned the kind would not hear of another option.
CREATE FUNCTION casq.define_kind(
    kind text,
    transfer text,
    queue text DEFAULT NULL,
    prefix text DEFAULT NULL,
    source_prefix text DEFAULT NULL,
    missing text DEFAULT NULL,
    quiet interval DEFAULT NULL,
    probe interval DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET intervalstyle = 'postgres' AS $$
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
END $$;
COMMENT ON FUNCTION casq.define_kind IS
    'Makes a kind known whose events are appended by hand; casq.track does it for a table. '
    'transfer: file, git, or none (only counted). queue: River queue of its jobs; the kind''s '
    'name if it is not said. prefix: folder at targets, the kind''s name if it is not said; '
    'source_prefix: folder that keys are relative to at the source, the top if it is not '
    'said. missing: failed, or absent, with which what the source does not have is no '
    'failure. quiet: what changes often is copied when it has not changed for so long. '
    'probe: how often what is in place is compared with the source, for changes that no row '
    'tells. Other sites learn all of it with the kind, and may change missing, quiet and '
    'probe for themselves (enqueue kind set). To repeat a definition is harmless. Errors: '
    'duplicate_object where it is defined otherwise; invalid_parameter_value where a prefix '
    'cannot be a folder, or where an option cannot be. Kinds whose prefixes overlap share a '
    'tree (a notice says so): of two resources that would share a place, the second one fails.';

-- Starts the log anew after a dump was restored into another cluster: ticks
-- and events hold transaction ids that mean nothing here. It does so in a new
-- timeline, above all that the log had: whoever has followed it compares by timelines.
CREATE FUNCTION casq.adopt_log() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.adopt_log IS
    'Starts the log anew after a dump was restored into another cluster, where transaction '
    'ids of the old one mean nothing. Events that were not read are lost: backfill each kind '
    'afterwards. Followers compare everything. Tracked views are compared with their images.';

-- Where a consumer of the log stands. A batch moves the position in the
-- transaction that has its effects, and only from the position and under the
-- epoch that it began with: that is the fence. The lease is an optimisation.
--
-- beat moves on with each batch, each takeover, and now and then while a batch
-- takes long. A process that has seen the same beat for a lease's time of its own clock,
-- while there was something to apply, may take over, also without Redis.
--
-- caught_up_to: all that the log had at that time is applied, as the holder knows
-- it: when the tick was new that it has applied, by home's clock. A tick is new when the
-- holder has first seen it, after others: the clocks of the source's hosts may be apart.
-- NULL: up to now, for as long as the holder gives signs of life.
CREATE TABLE casq.cursors (
    name text COLLATE "C" PRIMARY KEY,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    timeline_id uuid NOT NULL,
    tick bigint NOT NULL,
    nonce uuid NOT NULL,
    -- Inside a step that is read in pages; 0 and the nil uuid otherwise.
    to_tick bigint NOT NULL DEFAULT 0,
    to_nonce uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    page bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    backend_pid integer,
    backend_start timestamptz,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat bigint NOT NULL DEFAULT 0,
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    caught_up_to timestamptz,
    last_error text,
    CONSTRAINT cursors_page_belongs_to_a_step CHECK (
        to_tick = 0 AND page = 0 AND to_nonce = '00000000-0000-0000-0000-000000000000'
        OR to_tick > tick AND page > 0)
);

COMMENT ON TABLE casq.cursors IS
    'How far consumers of the log have come: read casq.cursor_status. A row that no process '
    'moves any more holds the log back, and is to be deleted by hand.';

-- An event whose data a consumer refuses for good is dead-lettered here, in the
-- transaction that moves the cursor past it. One row per consumer and event;
-- to replay it is to re-fetch the resource from the source as it is then.
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
    occurred_at timestamptz NOT NULL,
    reason text NOT NULL,
    code text NOT NULL DEFAULT '',
    tries integer NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_at timestamptz,
    PRIMARY KEY (cursor, timeline, event_id)
);
-- The open ones: for casq.why, and for replaying them page by page.
CREATE INDEX event_failures_open ON casq.event_failures (kind, resource_id) WHERE replayed_at IS NULL;

COMMENT ON TABLE casq.event_failures IS
    'Events that could not be applied and were dead-lettered. Open while replayed_at is null: enqueue replay re-fetches the resources from the source.';
COMMENT ON COLUMN casq.event_failures.cursor IS 'whose consumer has refused it; what is bad for one is not for another';
COMMENT ON COLUMN casq.event_failures.code IS 'the SQLSTATE; empty: the data could not be decoded, or its kind is not defined';
COMMENT ON COLUMN casq.event_failures.tries IS 'how often it was tried, alone and with others';
COMMENT ON COLUMN casq.event_failures.replayed_at IS 'when an operator''s replay has re-fetched the resource';

---- create above / drop below ----

-- Lock: all of it. Deploy: with nothing running that writes tracked tables, or
-- reads the log. What the log holds is lost.
DROP TABLE casq.event_failures;
DROP TABLE casq.cursors;
DROP FUNCTION casq.adopt_log();
DROP FUNCTION casq.define_kind(text, text, text, text, text, text, interval, interval);
DROP FUNCTION casq.append_event(text, text, text, jsonb, text, bigint, bigint, text);
DROP FUNCTION casq.tick(boolean);
DROP FUNCTION casq.last_event_id();
DROP FUNCTION casq.events_between(pg_snapshot, pg_snapshot);
DROP FUNCTION casq.newest_tick();
DROP TABLE casq.ticks;
DROP TABLE casq.timelines;
DROP TABLE casq.installation;
DROP TABLE casq.source_changes;
DROP TABLE casq.events;
DROP FUNCTION casq.draw_event_id();
DROP FUNCTION casq.refuse_event_update();
DROP FUNCTION casq.neighbour_keys(text, text[]);
DROP VIEW casq.neighbours;
DROP FUNCTION casq.check_kind(casq.kinds);
DROP FUNCTION casq.prefixes_overlap(text, text);
DROP TABLE casq.kinds;
DROP FUNCTION casq.check_kind();
