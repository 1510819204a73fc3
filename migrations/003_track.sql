-- Tracking a table, and following what DDL does to it: partitions that come and
-- go, renames, and whatever would lose events.
--
-- Lock: none on existing objects; casq.track locks only the table it is given.
-- Deploy: at any time; by a superuser, or a superuser runs
-- SELECT casq.install_event_trigger() once afterwards: partitioned tables need it.

-- A view, and its image: a table of casq with a row for each id of the view, which is
-- tracked as any other table. 017_images.sql has it follow the view.
CREATE TABLE casq.views (
    kind text COLLATE "C" PRIMARY KEY REFERENCES casq.kinds,
    view regclass NOT NULL UNIQUE,
    -- What it was called: a view that is dropped and made again is another one of that name.
    name text NOT NULL,
    image regclass NOT NULL,
    id_column text NOT NULL,
    key_column text NOT NULL,
    scope_column text,
    size_column text,
    payload_columns text[] NOT NULL,
    sources jsonb NOT NULL,
    -- What its rows were made by when they were last evaluated.
    definition text,
    -- The comparison of the image with the view, in the order of ids: asked for, begun,
    -- how far it has come, and when one has last come to the end.
    compare_asked_at timestamptz DEFAULT clock_timestamp(),
    -- A source's trigger was made anew: what transactions of before, below compare_from, have noted
    -- may be less than is needed now.
    renewed boolean NOT NULL DEFAULT false,
    compare_from xid8,
    compare_began_at timestamptz,
    compared_to text,
    compared_at timestamptz,
    filled_at timestamptz,
    -- What a comparison finds has not happened now: it is the first one, or the view was replaced.
    fills boolean NOT NULL DEFAULT true,
    -- What keeps it from being evaluated, since when, and when it was last tried.
    error text,
    failed_at timestamptz,
    tried_at timestamptz,
    tracked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A table that tracked views are made of.
CREATE TABLE casq.sources (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation regclass NOT NULL UNIQUE,
    name text NOT NULL,
    -- Why not all changes of it are noted, or only that there was one; and since when.
    problem text,
    problem_at timestamptz
);

-- What of a source a view needs.
CREATE TABLE casq.view_sources (
    kind text COLLATE "C" NOT NULL REFERENCES casq.views ON DELETE CASCADE,
    source integer NOT NULL REFERENCES casq.sources,
    -- The view of the ids that changed rows lead to, and the one of the changed rows.
    ids regclass NOT NULL,
    changed regclass NOT NULL,
    PRIMARY KEY (kind, source)
);

-- Ids of a view that are to be evaluated again. reason: why the last time has failed; NULL:
-- there was none. key: what another id has, and this one wants.
CREATE TABLE casq.view_ids (
    kind text COLLATE "C" NOT NULL REFERENCES casq.views ON DELETE CASCADE,
    id text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    reason text,
    tries integer NOT NULL DEFAULT 0,
    failed_at timestamptz,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, id)
);
CREATE INDEX view_ids_due ON casq.view_ids (kind, due_at);
CREATE INDEX view_ids_key ON casq.view_ids (kind, key) WHERE key IS NOT NULL;

COMMENT ON TABLE casq.views IS 'The views that are tracked: read casq.view_status.';
COMMENT ON TABLE casq.sources IS 'The tables that tracked views are made of, whose changes are noted.';
COMMENT ON TABLE casq.view_sources IS 'Which tables a tracked view is made of, and what of their rows it needs.';
COMMENT ON TABLE casq.view_ids IS
    'Ids of tracked views that are evaluated again: with a reason those whose row cannot be '
    'followed as it is, such as a second one with the same key. They are tried again by '
    'themselves.';
COMMENT ON COLUMN casq.view_ids.kind IS 'as in casq.views';
COMMENT ON COLUMN casq.view_ids.id IS 'value of the id column';
COMMENT ON COLUMN casq.view_ids.key IS 'the key that it wants, and another id has';
COMMENT ON COLUMN casq.view_ids.reason IS 'why its row is not followed; NULL: it waits for its turn';
COMMENT ON COLUMN casq.view_ids.tries IS 'how often it has failed';
COMMENT ON COLUMN casq.view_ids.failed_at IS 'when it first did';
COMMENT ON COLUMN casq.view_ids.due_at IS 'when it is tried again, at the latest';

-- Raises unless relation is a table whose changes triggers can follow.
CREATE FUNCTION casq.check_relation(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Raises unless the columns are fit for what they are tracked as.
CREATE FUNCTION casq.check_columns(t casq.tracked) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Raises unless rows are told apart by their id, whatever their key is. Over partitions
-- only what has the partition key can be kept unique.
CREATE FUNCTION casq.check_id_column(t casq.tracked) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Makes triggers and function of a tracked table what they should be, with an
-- event for each row that came or went with a partition. Idempotent.
CREATE FUNCTION casq.align(kind text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Logs the rows of a partition that was attached (INSERT) or detached (DELETE).
CREATE FUNCTION casq.log_partition(t casq.tracked, partition regclass, op text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;

-- Follows every change of a table's rows as events of a kind. Returns the number
-- of rows that were there before; casq.begin_counting asks for them to be counted.
-- What the kind's transfer, queue and prefixes are: casq.define_kind. It waits for the
-- transactions that have written the table, and new writers wait behind it: set
-- lock_timeout on a busy one.
CREATE FUNCTION casq.track(
    relation regclass,
    kind text,
    transfer text,
    key_column text,
    scope_column text DEFAULT NULL,
    size_column text DEFAULT NULL,
    payload_columns text[] DEFAULT '{}',
    queue text DEFAULT NULL,
    prefix text DEFAULT NULL,
    source_prefix text DEFAULT NULL,
    missing text DEFAULT NULL,
    quiet interval DEFAULT NULL,
    probe interval DEFAULT NULL,
    every_update boolean DEFAULT false,
    id_column text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.track IS
    'Follows each change of a table''s rows as events of a kind, in the application''s own '
    'transactions, and returns how many rows were there before: enqueue backfill appends '
    'events for those. key_column must be unique and NOT NULL; scope_column is what rows are '
    'counted by, size_column is added up, payload_columns are sent along. id_column, unique '
    'and NOT NULL, is what stays the same when a key changes: then the copy is moved, too, '
    'and not made anew. With every_update each UPDATE of a row is told of, also one that '
    'changes none of these. transfer, queue, prefix, source_prefix, missing, quiet and probe: '
    'as in casq.define_kind. It waits for transactions that have written the table, and new '
    'writers wait behind it: set lock_timeout on a busy one. '
    'Errors name the column, and say what would do; duplicate_object where the table, or the '
    'kind, is tracked otherwise.';

-- Ends tracking, of a table or of a kind: a table that is gone has no name any more.
-- The kind and its events stay.
CREATE FUNCTION casq.untrack(relation regclass DEFAULT NULL, kind text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.untrack IS
    'Ends tracking, of a table, a view or a kind. What was copied, the kind and its events stay: '
    'enqueue kind drop ends the kind. Errors: undefined_object where it is not tracked.';

-- Tracked tables of whose names others are now, as after CREATE TABLE new, and
-- two renames: what is written there is not told of.
CREATE FUNCTION casq.replaced() RETURNS TABLE (kind text, by regclass, said text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.kind, n.by, format('casq: %s is another table now, and kind %s still follows the one that it was, %s;'
        ' SELECT casq.untrack(%L), and casq.track(...) with the new one, or casq.track(...) with the old one again if that is meant',
        n.by, t.kind, t.relation, t.relation)
    FROM casq.tracked AS t
    JOIN pg_class AS c ON c.oid = t.relation
    CROSS JOIN LATERAL (SELECT to_regclass(t.name) AS by) AS n
    WHERE n.by <> t.relation
    ORDER BY t.kind
$$;

-- Brings tracked tables in line after commands that have to do with them: with a
-- partition its root, with a detached one the parent that lost it, with a schema
-- or row type the tables of it. Other DDL pays 0.3 ms; the catalogs are never
-- read as a whole, however many tables there are.
CREATE FUNCTION casq.on_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
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
END $$;

-- Refuses to lose a tracked table, a partition of one with its rows, their
-- triggers, the key's index, or a column that is told of.
CREATE FUNCTION casq.on_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Refuses a command that would write new values of a column that is told of, such
-- as ALTER COLUMN ... TYPE ... USING: no trigger sees that, and each row is the
-- same one afterwards, so that no event could tell of it either.
CREATE FUNCTION casq.on_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

REVOKE ALL ON FUNCTION casq.on_ddl(), casq.on_drop(), casq.on_rewrite() FROM PUBLIC;

-- Run by a superuser, once per database, who so trusts casq's owner: the functions
-- are his, and are called whenever anybody alters something. Without it only
-- ordinary tables can be tracked, and casq.watch_tables finds later what would
-- have been refused; a renamed table is followed all the same, at some 1 ms a
-- statement.
CREATE FUNCTION casq.install_event_trigger() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
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
END $$;
COMMENT ON FUNCTION casq.install_event_trigger IS
    'Lets casq follow partitions, and refuse DDL that would break a tracked table. By a '
    'superuser, once in a database; without it only ordinary tables can be tracked. Errors: '
    'insufficient_privilege.';

DO $$
BEGIN
    PERFORM casq.install_event_trigger();
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'casq: partitioned tables cannot be tracked yet: a superuser must run SELECT casq.install_event_trigger()';
END $$;

---- create above / drop below ----

-- Lock: each tracked table against writes, for a moment. Deploy: by the superuser
-- whose event triggers they are; changes from then on are not logged.
DO $$
BEGIN
    SET LOCAL client_min_messages = warning;
    DROP EVENT TRIGGER IF EXISTS casq_ddl;
    DROP EVENT TRIGGER IF EXISTS casq_drop;
    DROP EVENT TRIGGER IF EXISTS casq_rewrite;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'casq: the event triggers belong to a superuser'
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'A superuser must run DROP EVENT TRIGGER casq_ddl; DROP EVENT TRIGGER casq_drop; DROP EVENT TRIGGER casq_rewrite;';
END $$;
DROP FUNCTION casq.install_event_trigger();
DROP FUNCTION casq.on_rewrite();
DROP FUNCTION casq.on_drop();
DROP FUNCTION casq.on_ddl();
DROP FUNCTION casq.replaced();
DO $$
BEGIN
    PERFORM casq.untrack(t.relation) FROM casq.tracked AS t JOIN pg_class AS c ON c.oid = t.relation;
END $$;
DROP FUNCTION casq.untrack(regclass, text);
DROP FUNCTION casq.track(regclass, text, text, text, text, text, text[], text, text, text, text, interval, interval, boolean, text);
DROP FUNCTION casq.log_partition(casq.tracked, regclass, text);
DROP FUNCTION casq.align(text);
DROP FUNCTION casq.check_columns(casq.tracked);
DROP FUNCTION casq.check_id_column(casq.tracked);
DROP FUNCTION casq.check_relation(regclass);
DROP TABLE casq.view_ids;
DROP TABLE casq.view_sources;
DROP TABLE casq.sources;
DROP TABLE casq.views;
