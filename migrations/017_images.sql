-- The images of tracked views: how a view comes to be tracked, and how its image follows it.
--
-- Lock: none on existing objects. Deploy: at any time.

-- A column of a view as its image has it. What is told apart by its bytes is text; sizes are
-- bytes; of a domain it has the type below, whose checks are not evaluated again.
CREATE FUNCTION casq.image_type(v casq.views, called text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN called IN (v.id_column, v.key_column, v.scope_column) AND b.type IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN 'text'
                WHEN called = v.size_column THEN 'bigint' ELSE format_type(b.type, -1) END
    FROM pg_attribute AS a CROSS JOIN LATERAL (SELECT casq.base_type(a.atttypid)) AS b (type)
    WHERE a.attrelid = v.view AND a.attname = called AND a.attnum > 0
$$;

-- Makes the image of a view: empty, with the columns that are told of.
CREATE FUNCTION casq.put_image(v casq.views) RETURNS regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Makes the view of the ids that changed rows of a source lead to, from a user's query over
-- changed, whose names are found in his own schemas. What it names is settled here and
-- now: it follows renames, and nobody can put anything else in its way. changed are the rows
-- that the setting casq.changed has.
CREATE FUNCTION casq.put_ids(v casq.views, source casq.sources, query text, names_in text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Raises unless a source's query can be evaluated, and returns ids such as the view's.
CREATE FUNCTION casq.check_ids(v casq.views, ids regclass, source text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Follows the rows of a view as events of a kind. The view is the user's own: any expression,
-- join and WHERE. sources has, by name, the tables that it is made of, each with a query from
-- their changed rows to ids of the view. Returns how many rows it has: a worker takes them up.
CREATE FUNCTION casq.track_view(
    view regclass,
    kind text,
    transfer text,
    id_column text,
    key_column text,
    sources jsonb,
    scope_column text DEFAULT NULL,
    size_column text DEFAULT NULL,
    payload_columns text[] DEFAULT '{}',
    queue text DEFAULT NULL,
    prefix text DEFAULT NULL,
    source_prefix text DEFAULT NULL,
    missing text DEFAULT NULL,
    quiet interval DEFAULT NULL,
    probe interval DEFAULT NULL,
    names_in text DEFAULT current_setting('search_path')
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.track_view IS
    'Follows the rows of a view as events of a kind, and returns how many it has: a worker '
    'takes them up. The view may have any expression, join and WHERE. sources names the tables '
    'that it is made of, each with a query from changed, the rows of that table that have '
    'changed, old and new, to ids of the view: {"repository": "SELECT id FROM changed", '
    '"user": "SELECT r.id FROM changed AS u JOIN repository AS r ON r.owner_id = u.id"}. '
    'The application''s transactions only note the changed rows; a worker evaluates the view '
    'for the ids that they lead to. id_column and key_column are unique; the others are as in '
    'casq.track. The names in queries are found as the session''s search_path finds them. It '
    'waits for transactions that have written the sources, and new writers wait behind it: set '
    'lock_timeout on busy ones. '
    'Errors name what is in the way, and say what would do; duplicate_object where the view, or the '
    'kind, is tracked otherwise.';

-- Warns of tables that a view reads, and no source is.
CREATE FUNCTION casq.warn_of_unnamed(v casq.views) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- How many rows a view has; it raises where two have one id. Two with one key are told of.
CREATE FUNCTION casq.count_view(v casq.views) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;

-- Makes a view's ids views, and has its sources note what they name. They are locked against
-- writes for a moment: whoever has not noted enough is done before the view is compared.
CREATE FUNCTION casq.put_sources(v casq.views, names_in text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

CREATE FUNCTION casq.drop_ids(kind text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Ends the tracking of a view: called by casq.untrack, which ends that of its image.
CREATE FUNCTION casq.leave_view(kind text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- The rows that a view has of some ids, each as the text of a row of its image.
CREATE FUNCTION casq.evaluate_view(v casq.views, ids text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fields text;
    rows text[];
BEGIN
    SELECT string_agg(format('v.%I::%s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) INTO fields
    FROM pg_attribute AS a WHERE a.attrelid = v.image AND a.attnum > 0 AND NOT a.attisdropped;
    EXECUTE format('SELECT array_agg(ROW(%s)::%s::text) FROM %s AS v WHERE v.%I = ANY ($1::%s[])',
        fields, v.image, v.view, v.id_column, casq.image_type(v, v.id_column)) INTO rows USING ids;
    RETURN coalesce(rows, '{}');
END $$;

-- The ids that have to be evaluated with others, of which rows are what the view has: those that
-- have, in the image, a key that one of the rows has now; and those that wait for one that is left.
CREATE FUNCTION casq.entangled_ids(v casq.views, ids text[], rows text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Which of the rows the image is to have, and why not the others. Of two ids with one key it
-- is the one that has it in the image, else the first one.
CREATE FUNCTION casq.judge_rows(v casq.views, rows text[], OUT good text[], OUT bad jsonb)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Makes the image what it is to be of some ids, given the rows that it is to have of them. Rows
-- keep their id, so that the log's trigger sees each key that moves; that they are unique is seen to
-- at the end of the statement, so that they may change places.
CREATE FUNCTION casq.write_image(v casq.views, ids text[], good text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Evaluates a view for some ids, and for those that they have to do with, and changes its
-- image. Whoever is too far along a chain of keys leaves it, and is evaluated next.
CREATE FUNCTION casq.change_image(v casq.views, asked text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Has ids evaluated as soon as it is their turn.
CREATE FUNCTION casq.put_off_ids(kind text, ids text[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO casq.view_ids AS p (kind, id) SELECT DISTINCT put_off_ids.kind, i.id FROM unnest(ids) AS i (id)
    ON CONFLICT ON CONSTRAINT view_ids_pkey DO UPDATE SET due_at = clock_timestamp()
$$;

-- Notes why the row of an id is not followed. It is tried again, the longer it fails the later.
CREATE FUNCTION casq.fail_id(kind text, id text, key text, reason text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO casq.view_ids AS p (kind, id, key, reason, tries, failed_at, due_at)
    VALUES (fail_id.kind, fail_id.id, fail_id.key, fail_id.reason, 1, clock_timestamp(), clock_timestamp() + interval '10 s')
    ON CONFLICT ON CONSTRAINT view_ids_pkey DO UPDATE
    SET key = excluded.key, reason = excluded.reason, tries = p.tries + 1, failed_at = coalesce(p.failed_at, excluded.failed_at),
        due_at = clock_timestamp() + interval '10 s' * 2 ^ least(p.tries, 6)
$$;

-- Likewise, where what the data of an id make of it fails: that id is left out, and the others are not.
CREATE FUNCTION casq.refresh_ids(v casq.views, ids text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Is it an error that says nothing of the view: of a transaction, of resources, of an operator?
CREATE FUNCTION casq.passes(state text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT left(state, 2) IN ('08', '25', '40', '53', '57', '58', 'XX') OR state = '55P03'
$$;

-- A view that cannot be evaluated waits, and the others go on. When it can be again, it is
-- compared, for what was noted meanwhile is passed over.
CREATE FUNCTION casq.fail_view(kind text, reason text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    UPDATE casq.views AS v SET error = fail_view.reason, failed_at = coalesce(v.failed_at, clock_timestamp()), tried_at = clock_timestamp(),
        compare_asked_at = clock_timestamp(), compare_began_at = NULL, compared_to = NULL
    WHERE v.kind = fail_view.kind
$$;

-- Makes sure that a view can be evaluated, before it is; the caller has locked its row. One
-- that was replaced is compared.
CREATE FUNCTION casq.open_view(v casq.views) RETURNS casq.views
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- The ids of a view that noted changes of its sources lead to. NULL: any, as a note says so,
-- they are too many, or a query cannot be evaluated for what the rows have.
CREATE FUNCTION casq.find_ids(v casq.views, sources integer[], notes jsonb[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Applies noted changes of sources to the images of the views that are made of them, in
-- snapshots of its own, later than those of the changes. Of many ids it evaluates most, the
-- others when it is their turn. One view's failure is its own.
CREATE FUNCTION casq.apply_source_changes(sources integer[], notes jsonb[], most integer DEFAULT 2000) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' AS $$
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
END $$;

-- The tracked views that have something to do but for what is noted.
CREATE FUNCTION casq.due_views(compare_after interval) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT v.kind FROM casq.views AS v
    WHERE (v.error IS NULL OR v.tried_at < clock_timestamp() - interval '5 s')
      AND (v.compare_asked_at IS NOT NULL OR v.compare_began_at IS NOT NULL OR v.compared_at < clock_timestamp() - compare_after
           OR EXISTS (SELECT FROM casq.view_ids AS p WHERE p.kind = v.kind AND p.due_at <= clock_timestamp()))
    ORDER BY v.kind
$$;

-- The next ids that are to be evaluated: those that wait for their turn, or have failed.
CREATE FUNCTION casq.due_ids(kind text, failed boolean, most integer) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY(SELECT p.id FROM casq.view_ids AS p
                 WHERE p.kind = due_ids.kind AND p.due_at <= clock_timestamp() AND (p.reason IS NOT NULL) = failed ORDER BY p.due_at LIMIT most)
$$;

-- Does a page of what is due of a view: ids that wait, then a page of the comparison of the
-- image with the view, in the order of ids, then ids that have failed. Any number of sessions may call it, at any time.
-- Returns whether there may be more to do at once.
CREATE FUNCTION casq.do_view(kind text, compare_after interval, most integer DEFAULT 2000) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' AS $$
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
END $$;

-- Begins the comparison that is asked for, or due, unless it has to wait: see casq.views.renewed.
CREATE FUNCTION casq.begin_comparison(v casq.views, compare_after interval) RETURNS casq.views
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- The next ids, beyond that to which a comparison has come, of those that the view or its image has.
CREATE FUNCTION casq.page_of_ids(v casq.views, most integer) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

---- create above / drop below ----

-- Lock: what is tracked, for a moment. Deploy: at any time; what changes in a view from then on is not followed.
DO $$
BEGIN
    PERFORM casq.untrack(kind => v.kind) FROM casq.views AS v;
END $$;
DROP FUNCTION casq.page_of_ids(casq.views, integer);
DROP FUNCTION casq.begin_comparison(casq.views, interval);
DROP FUNCTION casq.do_view(text, interval, integer);
DROP FUNCTION casq.due_ids(text, boolean, integer);
DROP FUNCTION casq.due_views(interval);
DROP FUNCTION casq.apply_source_changes(integer[], jsonb[], integer);
DROP FUNCTION casq.find_ids(casq.views, integer[], jsonb[]);
DROP FUNCTION casq.open_view(casq.views);
DROP FUNCTION casq.fail_view(text, text);
DROP FUNCTION casq.passes(text);
DROP FUNCTION casq.refresh_ids(casq.views, text[]);
DROP FUNCTION casq.fail_id(text, text, text, text);
DROP FUNCTION casq.put_off_ids(text, text[]);
DROP FUNCTION casq.change_image(casq.views, text[]);
DROP FUNCTION casq.write_image(casq.views, text[], text[]);
DROP FUNCTION casq.judge_rows(casq.views, text[]);
DROP FUNCTION casq.entangled_ids(casq.views, text[], text[]);
DROP FUNCTION casq.evaluate_view(casq.views, text[]);
DROP FUNCTION casq.leave_view(text);
DROP FUNCTION casq.drop_ids(text);
DROP FUNCTION casq.put_sources(casq.views, text);
DROP FUNCTION casq.count_view(casq.views);
DROP FUNCTION casq.warn_of_unnamed(casq.views);
DROP FUNCTION casq.track_view(regclass, text, text, text, text, jsonb, text, text, text[], text, text, text, text, interval, interval, text);
DROP FUNCTION casq.check_ids(casq.views, regclass, text);
DROP FUNCTION casq.put_ids(casq.views, casq.sources, text, text);
DROP FUNCTION casq.put_image(casq.views);
DROP FUNCTION casq.image_type(casq.views, text);
