-- Counters by kind and scope, and their recounts.
--
-- Lock: casq.tracked, for a moment. Deploy: at any time. Kinds that are tracked
-- already count from the log's beginning as far as it was kept, and say that
-- they are not exact until they have been recounted.

-- What a kind's counters are worth. complete: they are right for every scope, the
-- ones to come included, since the log tells of all rows or a recount has seen
-- them. A new generation begins when that ends; scopes that were recounted in it
-- are right by themselves.
CREATE TABLE casq.counter_kinds (
    kind text COLLATE "C" PRIMARY KEY,
    complete boolean NOT NULL,
    generation integer NOT NULL DEFAULT 1,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Since when a comparison has found counters that differ; NULL: none, or all were
    -- recounted since.
    differs_since timestamptz
);

-- A shard of the counters, and how far its counters have come in the log: the
-- position of the counters' consumer, moved only together with the counters.
-- epoch counts those transactions. Whoever changes counters locks their shard
-- first.
CREATE TABLE casq.counter_shards (
    shard integer PRIMARY KEY CHECK (shard >= 0),
    epoch bigint NOT NULL DEFAULT 0,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    timeline_id uuid NOT NULL,
    tick bigint NOT NULL,
    nonce uuid NOT NULL,
    to_tick bigint NOT NULL DEFAULT 0,
    to_nonce uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    page bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT counter_shards_page_belongs_to_a_step CHECK (
        to_tick = 0 AND page = 0 AND to_nonce = '00000000-0000-0000-0000-000000000000'
        OR to_tick > tick AND page > 0)
) WITH (fillfactor = 50);

-- numeric: the sum of sizes up to 2^63-1 does not fit into a bigint.
CREATE TABLE casq.counters (
    kind text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    size numeric NOT NULL DEFAULT 0,
    items bigint NOT NULL DEFAULT 0,
    generation integer NOT NULL DEFAULT 0, -- in which it was recounted last
    refresh bigint,                        -- that recount: its certificate
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, scope_id)
) WITH (fillfactor = 70);
CREATE INDEX counters_shard ON casq.counters (kind, shard);

COMMENT ON TABLE casq.counters IS 'The counters: read casq.statistics.';

-- What SQL readers use: the values as of the last flush.
CREATE VIEW casq.statistics AS
SELECT c.kind, c.scope_id, c.size, c.items,
       coalesce(k.complete OR c.generation = k.generation, false) AS exact,
       c.refresh, c.updated_at, s.tick AS as_of_tick, s.moved_at AS as_of
FROM casq.counters AS c
JOIN casq.counter_shards AS s USING (shard)
LEFT JOIN casq.counter_kinds AS k USING (kind);

COMMENT ON VIEW casq.statistics IS
    'The counters by kind and scope, as of the last flush: at most FLUSH_INTERVAL old while a '
    'worker runs. For the newest value, what is not flushed included: enqueue counter get.';
COMMENT ON COLUMN casq.statistics.kind IS 'its kind';
COMMENT ON COLUMN casq.statistics.scope_id IS 'project, or whatever else the scope column has; the empty text: of the rows in which it is NULL';
COMMENT ON COLUMN casq.statistics.size IS 'sum of the sizes, in the unit of the size column, bytes as a rule';
COMMENT ON COLUMN casq.statistics.items IS 'how many resources';
COMMENT ON COLUMN casq.statistics.exact IS 'whether it is the sum of all; false until a recount has ended';
COMMENT ON COLUMN casq.statistics.refresh IS 'the recount that it was last set by; NULL: the log alone';
COMMENT ON COLUMN casq.statistics.updated_at IS 'when it last changed';
COMMENT ON COLUMN casq.statistics.as_of_tick IS 'the tick of the log up to which it counts';
COMMENT ON COLUMN casq.statistics.as_of IS 'when it was flushed';

-- Per shard: how far the flushed values are, and how old the oldest event is that
-- they do not have: the age of the buffer, zero when there is none. Every shard
-- moves with every event that has a scope. While none comes, a position is written
-- every few minutes, and nothing is behind: lag and ticks_behind count from the
-- first tick that shows such an event. It is looked for among the next 10,000: beyond them
-- a log that nobody counts would be read as a whole.
CREATE VIEW casq.counter_status AS
SELECT s.shard, s.epoch, s.timeline, s.tick, s.page, s.moved_at,
       coalesce(newest.id - behind.first_tick + 1, 0) AS ticks_behind,
       coalesce(greatest(clock_timestamp() - behind.taken_at, interval '0'), interval '0') AS lag,
       coalesce(greatest(clock_timestamp() - behind.occurred_at, interval '0'), interval '0') AS buffer_age
FROM casq.counter_shards AS s
CROSS JOIN (SELECT id FROM casq.ticks ORDER BY id DESC LIMIT 1) AS newest
LEFT JOIN (
    SELECT t.id AS tick, oldest.occurred_at, first.id AS first_tick, first.taken_at
    FROM (SELECT DISTINCT c.tick FROM casq.counter_shards AS c) AS at -- most stand at the same
    JOIN casq.ticks AS t ON t.id = at.tick
    CROSS JOIN LATERAL (
        SELECT e.xid, e.occurred_at
        FROM (SELECT n.* FROM casq.events AS n WHERE n.xid >= pg_snapshot_xmax(t.snapshot) ORDER BY n.xid, n.id LIMIT 10000) AS e
        WHERE e.scope_id IS NOT NULL
        ORDER BY e.xid, e.id LIMIT 1
    ) AS oldest
    LEFT JOIN LATERAL (
        SELECT n.id, n.taken_at FROM casq.ticks AS n
        WHERE n.id > t.id AND pg_visible_in_snapshot(oldest.xid, n.snapshot)
        ORDER BY n.id LIMIT 1
    ) AS first ON true
) AS behind ON behind.tick = s.tick;

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

-- A table that is tracked while it is empty has its whole history in the log. Any
-- other is recounted, which is asked for here, in the transaction that makes it
-- necessary: that is two rows, however large the table is.
CREATE FUNCTION casq.begin_counting() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;
CREATE TRIGGER counting_begins AFTER INSERT OR UPDATE OR DELETE ON casq.tracked
    FOR EACH ROW EXECUTE FUNCTION casq.begin_counting();
INSERT INTO casq.counter_kinds (kind, complete) SELECT kind, false FROM casq.tracked;

-- One pass over a table, for the recounts that were asked for together. token is
-- the run that has it: what another one brings is not taken.
--
-- A recount whose one pass over the table would hold its snapshot for too long is
-- carried out in parts, which are scans themselves. Those of a table begin beyond
-- one scope and end with another, one after the other; those of the rest are lists
-- of counters that the table had no rows for. part_of: the recount that was asked
-- for, also for a list that was divided.
CREATE TABLE casq.scans (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    all_scopes boolean NOT NULL,
    compare boolean NOT NULL,    -- report differences, swap nothing
    in_parts boolean NOT NULL DEFAULT false,
    part_of bigint REFERENCES casq.scans ON DELETE SET NULL,
    part text CONSTRAINT scans_part_is_known CHECK (part IN ('table', 'rest', 'list')),
    after_scope text COLLATE "C", -- where the part begins; NULL: at the first one
    last_scope text COLLATE "C",  -- where it ended; NULL: nothing is left
    scope_order text,             -- by which type and collation its scopes come
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The newest tick when it was asked for, and then when its run began: the scan
    -- sees it, so events beyond it are kept until the recount is over.
    floor_timeline integer NOT NULL,
    floor_tick bigint NOT NULL,
    token uuid,
    process uuid,
    job bigint,
    flush_job bigint,
    tries integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    -- What it saw: the newest tick in its snapshot, and the transactions with
    -- events beyond that tick.
    generation integer,
    host text,
    timeline integer,
    tick bigint,
    nonce uuid,
    xids xid8[],
    scanned_rows bigint,
    scanned_at timestamptz,
    shards integer[], -- that it is not swapped in yet
    finished_at timestamptz,
    CONSTRAINT scans_part_belongs_to_a_recount CHECK (part IS NOT NULL OR part_of IS NULL)
);
CREATE INDEX scans_open ON casq.scans (id) WHERE finished_at IS NULL;
CREATE INDEX scans_parts ON casq.scans (part_of) WHERE part_of IS NOT NULL;

-- One row per scope; scope_id NULL is all scopes of the kind, whose own rows come
-- with the scan. No index says which are open: no query needs it, and with it no
-- swap could update a row in its place.
CREATE TABLE casq.refreshes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scan bigint NOT NULL REFERENCES casq.scans ON DELETE CASCADE,
    kind text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C",
    shard integer,
    state text NOT NULL DEFAULT 'created'
        CONSTRAINT refreshes_state_is_known CHECK (state IN
            ('created', 'running', 'finalizing', 'done', 'failed', 'cancelled')),
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finalizing_at timestamptz,
    finished_at timestamptz,
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
    CONSTRAINT refreshes_scope_has_a_shard CHECK ((scope_id IS NULL) = (shard IS NULL)),
    CONSTRAINT refreshes_end_has_a_time CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT refreshes_failure_has_a_reason CHECK (state <> 'failed' OR reason IS NOT NULL),
    CONSTRAINT refreshes_done_has_a_value CHECK (state <> 'done' OR scope_id IS NULL OR new_size IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX refreshes_shard ON casq.refreshes (scan, shard);
CREATE UNIQUE INDEX refreshes_scope ON casq.refreshes (scan, scope_id);

COMMENT ON TABLE casq.refreshes IS 'What recounts have found, by scope: read casq.refresh_status.';

-- Everything about a recount in one row.
CREATE VIEW casq.refresh_status AS
SELECT r.id, r.kind, r.scope_id, r.state, s.compare, r.requested_at, r.started_at, r.finalizing_at, r.finished_at,
       s.job AS scan_job, r.finalize_job, s.flush_job, r.flush_epoch, s.host, s.scanned_rows, s.tries,
       r.old_size, r.new_size, r.old_items, r.new_items, r.drift_size, r.drift_items,
       s.floor_tick, s.timeline AS scan_timeline, s.tick AS scan_tick, s.nonce AS scan_nonce, s.xids AS scan_xids, r.reason, r.scan,
       s.part_of
FROM casq.refreshes AS r
JOIN casq.scans AS s ON s.id = r.scan;

COMMENT ON VIEW casq.refresh_status IS
    'Recounts, a row for each scope that was recounted, and one with scope_id NULL for all '
    'scopes of a kind.';
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

-- Is there a row of the kind with this scope? A text that is no value of the
-- column's type is none, but the empty one, which is that of rows without a scope.
CREATE FUNCTION casq.has_scope(kind text, scope_id text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;

-- Asks for a recount of all scopes of a kind, unless one is asked for that has not
-- begun. Whoever counts queues its job, as for one that has lost it.
CREATE FUNCTION casq.ask_recount(kind text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
$$;

-- A table of which a column that is told of was altered, and all rows were written
-- anew, may have other values than the log tells: its counters are not exact until
-- the recount that is asked for here, and a registry of this log is compared with
-- it. Returns that in words; NULL when it is not so. t is what is known of it.
CREATE FUNCTION casq.note_rewrite(t casq.tracked, now_filenode oid, now_shape text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Finds what no event trigger was there to refuse, or to follow, and returns
-- what it found, in words. A worker's role may call it, and not alter the function
-- of a trigger itself.
CREATE FUNCTION casq.watch_tables() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Are all values of a scope column that equal this one written as it is? Not so
-- for 07 where 7 is meant, nor for types and collations to which different texts
-- are equal.
CREATE FUNCTION casq.equal_is_same(scope_column pg_attribute, scope_id text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Those of some texts that are values of a type: a counter that events were
-- written for by hand may be of a scope that no row can have.
CREATE FUNCTION casq.values_of(type text, texts text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Sums up a kind's table by scope, in the caller's snapshot: all scopes (scopes
-- NULL), or some of them. It is grouped by the column itself, for its index, and
-- told as text afterwards. OFFSET 0 keeps what is asked of a group from being
-- asked of each row: for 5,000,000 of them 0.33 s, and 0.28 with it, as much as
-- the bare GROUP BY. One scope needs no groups: 74 ms, and 52 without, for
-- 1,000,000 rows.
CREATE FUNCTION casq.sum_by_scope(kind text, scopes text[])
RETURNS TABLE (scope_id text, size numeric, items bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;

-- Can a part of the table be found by scope? By a B-tree that begins with it, in the
-- order of its <, which that of text_pattern_ops is not.
CREATE FUNCTION casq.has_scope_index(kind text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Sums up the next scopes, at most so many, beyond one, or from the first (NULL),
-- in the column's own order, and tells them in it: the last row is how far it came.
-- The bound is looked up in the index, scope by scope, so that the rows can be
-- read in whatever way is fastest. Rows without a scope come first, and beside the others.
CREATE FUNCTION casq.sum_beyond(kind text, after_scope text, most integer)
RETURNS TABLE (scope_id text, size numeric, items bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;

---- create above / drop below ----

-- Lock: casq.tracked, for a moment. Deploy: with no worker running. The counters
-- are lost, and are exact again after they have been recounted.
DROP FUNCTION casq.sum_beyond(text, text, integer);
DROP FUNCTION casq.has_scope_index(text);
DROP FUNCTION casq.sum_by_scope(text, text[]);
DROP FUNCTION casq.values_of(text, text[]);
DROP FUNCTION casq.equal_is_same(pg_attribute, text);
DROP FUNCTION casq.watch_tables();
DROP FUNCTION casq.note_rewrite(casq.tracked, oid, text);
DROP FUNCTION casq.ask_recount(text);
DROP FUNCTION casq.has_scope(text, text);
DROP VIEW casq.refresh_status;
DROP TABLE casq.refreshes;
DROP TABLE casq.scans;
DROP TRIGGER counting_begins ON casq.tracked;
DROP FUNCTION casq.begin_counting();
DROP VIEW casq.counter_status;
DROP VIEW casq.statistics;
DROP TABLE casq.counters;
DROP TABLE casq.counter_shards;
DROP TABLE casq.counter_kinds;
