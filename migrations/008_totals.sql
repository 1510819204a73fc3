-- Totals of what scopes belong to, such as a namespace's projects.
--
-- Lock: casq.kinds, for a moment. Deploy: at any time.

-- Where it says which scopes belong to which parent: a table or view of the
-- user's own. By name, so that it may be dropped and made again, or have another
-- table put in its place: an oid would go on with the old one.
CREATE TABLE casq.scope_groups (
    kind text COLLATE "C" PRIMARY KEY REFERENCES casq.kinds ON DELETE CASCADE,
    parents text NOT NULL, -- qualified and quoted
    scope_column text NOT NULL,
    parent_column text NOT NULL,
    grouped_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What a type's text looks like, of those whose text does not depend on a
-- session's settings; else NULL.
CREATE FUNCTION casq.text_form(type oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN b IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) THEN 'integer'
        WHEN b = 'uuid'::regtype THEN 'uuid'
        WHEN b IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN 'text'
    END
    FROM casq.base_type(type) AS b
$$;

-- A column of the table that scopes are grouped by, as it is now.
CREATE FUNCTION casq.group_column(g casq.scope_groups, called text) RETURNS pg_attribute
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- How scopes of a kind are grouped, if totals can still be had by it.
CREATE FUNCTION casq.scope_group(kind text) RETURNS casq.scope_groups
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- The query of the pairs of parent and scope: of all parents, or of the one that
-- is $2. Each pair comes once, and is told apart by bytes like all scopes.
CREATE FUNCTION casq.group_sql(kind text, one boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- Can this be the text of a parent? Where parents are integers, 'seven' is none,
-- and neither is '07'.
CREATE FUNCTION casq.can_be_parent(kind text, parent text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g casq.scope_groups := casq.scope_group(can_be_parent.kind);
    type oid := casq.base_type((casq.group_column(g, g.parent_column)).atttypid);
    can boolean;
BEGIN
    EXECUTE format('SELECT $1::%s::text COLLATE "C" = $1', format_type(type, -1)) INTO can USING parent;
    RETURN coalesce(can, false);
EXCEPTION WHEN data_exception THEN
    RETURN false;
END $$;

-- Says which scopes of a kind belong to which parents: those that share a row of
-- a table or view of the user's own. A scope may have many rows, as in a view with
-- one for each of its ancestors; the same one twice counts once. Replaces what was
-- said before. Totals are had from the table as it is when they are asked for, so
-- it may change in any way; dropped or without the columns, it is an error.
CREATE FUNCTION casq.group_scopes(kind text, parents regclass, scope_column text, parent_column text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;
COMMENT ON FUNCTION casq.group_scopes IS
    'Says which scopes of a kind belong to which parents: parents is a table or view of the '
    'application with a row for each scope and its parent, scope_column and parent_column are '
    'its columns. It replaces what was said before. casq.totals adds up what it says at that '
    'time. Errors: invalid_parameter_value for a kind without a scope column; '
    'datatype_mismatch where the columns cannot be compared.';

CREATE FUNCTION casq.ungroup_scopes(kind text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM casq.scope_groups AS k WHERE k.kind = ungroup_scopes.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: scopes of kind % are not grouped', coalesce(quote_literal(ungroup_scopes.kind), 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = 'Grouped kinds: ' || coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.scope_groups AS k), 'none') || '.';
    END IF;
END $$;
COMMENT ON FUNCTION casq.ungroup_scopes IS 'Takes back casq.group_scopes. Errors: undefined_object where nothing is grouped.';

-- The totals of all parents as of the last flush: of each that has a row in the
-- user's table, and in a row with parent_id NULL what is counted under scopes
-- that have none there. Without ancestors they add up to all counters. as_of is
-- that of the shard that is furthest behind. No rows before a worker has begun to
-- count.
CREATE FUNCTION casq.totals(
    INOUT kind text, OUT parent_id text, OUT size numeric, OUT items bigint, OUT scopes bigint,
    OUT exact boolean, OUT as_of_tick bigint, OUT as_of timestamptz
) RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;
COMMENT ON FUNCTION casq.totals IS
    'The counters of a kind added up by parent (casq.group_scopes), as of the last flush: a '
    'row for each parent, and one with parent_id NULL for what is counted under scopes that '
    'have none. exact: whether all of its counters are. as_of_tick and as_of: of the shard '
    'that is furthest behind. No rows before a worker has begun to count. Errors: '
    'undefined_object where the kind is not grouped, or the table is gone.';

-- The total of one parent, likewise. No row for one that is not in the table.
CREATE FUNCTION casq.total(
    INOUT kind text, parent text, OUT parent_id text, OUT size numeric, OUT items bigint, OUT scopes bigint,
    OUT exact boolean, OUT as_of_tick bigint, OUT as_of timestamptz
) RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;
COMMENT ON FUNCTION casq.total IS 'The total of one parent, likewise. No row for one that the table does not have.';

-- The scopes of a parent.
CREATE FUNCTION casq.scopes_of(kind text, parent text) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
BEGIN
    IF casq.can_be_parent(scopes_of.kind, scopes_of.parent) THEN
        RETURN QUERY EXECUTE format('SELECT m.scope::text FROM (%s) AS m', casq.group_sql(scopes_of.kind, true))
            USING scopes_of.kind, scopes_of.parent;
    END IF;
END $$;
COMMENT ON FUNCTION casq.scopes_of IS 'The scopes of a parent.';

---- create above / drop below ----

-- Lock: casq.kinds, for a moment. Deploy: at any time. What scopes belong to has
-- to be said again.
DROP FUNCTION casq.scopes_of(text, text);
DROP FUNCTION casq.total(text, text);
DROP FUNCTION casq.totals(text);
DROP FUNCTION casq.ungroup_scopes(text);
DROP FUNCTION casq.group_scopes(text, regclass, text, text);
DROP FUNCTION casq.can_be_parent(text, text);
DROP FUNCTION casq.group_sql(text, boolean);
DROP FUNCTION casq.scope_group(text);
DROP FUNCTION casq.group_column(casq.scope_groups, text);
DROP FUNCTION casq.text_form(oid);
DROP TABLE casq.scope_groups;
