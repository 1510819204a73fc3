-- Tracked views: what they are made of, and the triggers that note what changes there.
--
-- Lock: none on existing objects; casq.track_view locks the sources that it is given
-- against writes, for a moment. Deploy: at any time.

CREATE VIEW casq.view_status AS
SELECT v.kind, v.name AS view,
       (SELECT array_agg(s.name ORDER BY s.name) FROM casq.view_sources AS p JOIN casq.sources AS s ON s.id = p.source WHERE p.kind = v.kind) AS sources,
       v.filled_at, v.compared_at,
       coalesce(v.compare_began_at, v.compare_asked_at) AS comparing_since, v.compared_to,
       i.waiting, i.failed, v.error, v.failed_at
FROM casq.views AS v
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE w.reason IS NULL) AS waiting, count(*) FILTER (WHERE w.reason IS NOT NULL) AS failed
    FROM casq.view_ids AS w WHERE w.kind = v.kind
) AS i;

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

-- The view itself, and those that it reads, at every depth.
CREATE FUNCTION casq.views_within(relation regclass) RETURNS TABLE (view oid, definition text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
$$;

-- What a view calls that may answer otherwise though no row has changed; NULL: nothing.
CREATE FUNCTION casq.unsteady(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
$$;

-- Raises unless casq can evaluate a view, and its image can have what it is tracked by.
CREATE FUNCTION casq.check_view(v casq.views) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- What a view's rows are made by: its text, and that of the views that it reads.
CREATE FUNCTION casq.view_definition(view regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT md5(string_agg(v.view::regclass || ' ' || pg_get_viewdef(v.view), E'\n' ORDER BY v.view)) FROM casq.views_within(view_definition.view) AS v
$$;

-- The columns of a relation that a view names, itself or by views within; NULL: any, as a
-- function of somebody's own may read it, or a row as a whole is named.
CREATE FUNCTION casq.columns_named(by regclass, relation regclass, functions boolean DEFAULT false) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
$$;

-- A column as a source's trigger notes it: as it is where that is what jsonb has for each
-- value and equality is identity, else its text.
CREATE FUNCTION casq.noted(a pg_attribute) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN b.type IN ('bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype,
                        'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN format('r.%I::%s', noted.a.attname, b.type)
        WHEN b.type IN ('text'::regtype, 'varchar'::regtype) THEN format('r.%I::text COLLATE "C"', noted.a.attname)
        ELSE format('CASE WHEN num_nonnulls(r.%1$I) > 0 THEN format(''%%s'', r.%1$I) END COLLATE "C"', noted.a.attname) END
    FROM (SELECT casq.base_type(noted.a.atttypid)::regtype AS type) AS b
$$;

-- The columns that a source's trigger goes by: those that it notes, which the queries of
-- its views name, and those by which it tells that an UPDATE has changed nothing, which
-- the views name, too (any_column: it cannot tell). missing: one that is noted, and is not
-- there as it was.
CREATE FUNCTION casq.source_columns(s casq.sources, OUT noted text[], OUT told_by text[], OUT any_column boolean, OUT missing text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- The statement that notes what there was and is of a source's rows. What is alike is noted
-- once. A note has at most 200 rows of small values: with a large one, of which there is a
-- hash here, it says only that any row may have changed.
--
-- An UPDATE is told by the values of old and new rows, summed up, for transition tables have
-- no pairing: what a view cannot tell apart by the columns that it names is the same to it.
CREATE FUNCTION casq.note_statement(s casq.sources, op text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- (Re)creates casq.note_<id>(), the trigger's function of a source; false: it is what it
-- should be. It evaluates nothing that is anybody's own, and what it cannot note it notes
-- as a change of any row: the application's statement must not fail for it.
CREATE FUNCTION casq.put_note_function(s casq.sources) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Has a source's function go by what its views name now. Their images are compared with
-- them, once all transactions have ended that may have noted by the one before.
CREATE FUNCTION casq.renew_source(s casq.sources) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF casq.put_note_function(s) THEN
        UPDATE casq.views AS v SET compare_asked_at = clock_timestamp(), renewed = true
        FROM casq.view_sources AS p WHERE p.source = s.id AND v.kind = p.kind;
    END IF;
END $$;

-- Raises unless the changes of a source can be noted.
CREATE FUNCTION casq.check_source(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM casq.check_relation(relation);
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = relation) THEN
        RAISE EXCEPTION 'casq: % is partitioned, and what is written to a partition by its own name is not noted', relation
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'The sources of a tracked view are ordinary tables; a partitioned one can be tracked by itself.';
    END IF;
END $$;

-- Locks several tables of the application, which may be in the middle of a transaction that
-- wants them in another order: what is locked is given back before anybody's deadlock_timeout,
-- at which it would be the application that fails, and tried again, for as long as the
-- session's lock_timeout allows. What the transaction has locked before cannot be given back:
-- then it fails at once, and not the application.
CREATE FUNCTION casq.lock_sources(relations regclass[], mode text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.lock_sources IS
    'Locks tables, for a transaction that tracks several views: call it first, with all of their '
    'sources and the mode SHARE ROW EXCLUSIVE. It waits without being in the way of the '
    'application''s transactions, for as long as lock_timeout allows. Errors: lock_not_available.';

-- Makes function and triggers of a source what they should be. The caller has locked it
-- where there are none yet, or where a view is to see more than before.
CREATE FUNCTION casq.align_source(source integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Takes the triggers of a source away that no view needs any more; else has it note less.
CREATE FUNCTION casq.leave_source(source integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- What is wrong with a source; NULL: nothing. It changes nothing of anybody's own.
CREATE FUNCTION casq.source_problem(s casq.sources) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Looks at the sources, as no event trigger may have been there to refuse what was done to
-- them, and at what their views name now. Where something is wrong, or was, or the view is
-- another one, all is compared. Returns what it found, in words.
CREATE FUNCTION casq.watch_sources() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Has a tracked view compared with its image, page by page, by a worker. Errors:
-- undefined_object.
CREATE FUNCTION casq.compare_view(kind text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE casq.views AS v SET compare_asked_at = clock_timestamp() WHERE v.kind = compare_view.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: kind % is that of no tracked view', coalesce(quote_literal(compare_view.kind), 'NULL') USING ERRCODE = 'undefined_object',
            HINT = format('Tracked views: %s.', coalesce((SELECT string_agg(v.kind, ', ' ORDER BY v.kind) FROM casq.views AS v), 'none'));
    END IF;
END $$;
COMMENT ON FUNCTION casq.compare_view IS
    'Has a tracked view compared with what is followed of it, page by page, by a worker. It is '
    'done by itself when the view was replaced, or changes may have been missed. Errors: '
    'undefined_object.';

-- Likewise all of them. anew: what was noted, and how far it was read, means nothing any more.
CREATE FUNCTION casq.compare_views(anew boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE casq.views SET compare_asked_at = clock_timestamp();
    IF anew THEN
        DELETE FROM casq.source_changes;
        DELETE FROM casq.cursors WHERE name = 'views';
        UPDATE casq.views SET compare_from = NULL;
    END IF;
END $$;

-- Is there a view to follow here? A process that did, and had begun anew just when the last one
-- was given up, has left a cursor that would hold the log back.
CREATE FUNCTION casq.follows_views() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN false;
    ELSIF EXISTS (SELECT FROM casq.views) THEN
        RETURN true;
    ELSIF EXISTS (SELECT FROM casq.cursors AS c WHERE c.name = 'views') THEN
        DELETE FROM casq.cursors AS c WHERE c.name = 'views';
    END IF;
    RETURN false;
END $$;

-- Does a kind's table have all that is to be followed? Not so the image of a view that is
-- filled for the first time: what it lacks is not gone.
CREATE FUNCTION casq.is_filled(kind text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT EXISTS (SELECT FROM casq.views AS v WHERE v.kind = is_filled.kind AND v.filled_at IS NULL)
$$;

-- What the images of tracked views lack, and why, for whoever would go on without this
-- database: nothing of it is in the log yet. It reads what is not pruned of the changes.
CREATE FUNCTION casq.views_behind() RETURNS TABLE (kind text, changes bigint, why text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
$$;
COMMENT ON FUNCTION casq.views_behind IS
    'What the tracked views of this database lack, and why: a row for each that lacks anything. '
    'It is not in the log yet, and no follower has it.';

-- Deletes changes of sources that the consumer of views is past, at most batch of them, and
-- returns how many they were.
CREATE FUNCTION casq.prune_source_changes(batch integer DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
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
END $$;

---- create above / drop below ----

-- Lock: none. Deploy: once no view is tracked, as 017_images.sql has left it.
DROP FUNCTION casq.prune_source_changes(integer);
DROP FUNCTION casq.views_behind();
DROP FUNCTION casq.is_filled(text);
DROP FUNCTION casq.follows_views();
DROP FUNCTION casq.compare_views(boolean);
DROP FUNCTION casq.compare_view(text);
DROP FUNCTION casq.watch_sources();
DROP FUNCTION casq.source_problem(casq.sources);
DROP FUNCTION casq.leave_source(integer);
DROP FUNCTION casq.align_source(integer);
DROP FUNCTION casq.lock_sources(regclass[], text);
DROP FUNCTION casq.check_source(regclass);
DROP FUNCTION casq.renew_source(casq.sources);
DROP FUNCTION casq.put_note_function(casq.sources);
DROP FUNCTION casq.note_statement(casq.sources, text);
DROP FUNCTION casq.source_columns(casq.sources);
DROP FUNCTION casq.noted(pg_attribute);
DROP FUNCTION casq.columns_named(regclass, regclass, boolean);
DROP FUNCTION casq.view_definition(regclass);
DROP FUNCTION casq.check_view(casq.views);
DROP FUNCTION casq.unsteady(regclass);
DROP FUNCTION casq.views_within(regclass);
DROP VIEW casq.view_status;
