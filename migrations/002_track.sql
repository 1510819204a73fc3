-- Tracking: tables of the user's own, whose changes are logged by triggers.
--
-- Lock: none on existing objects; casq.track locks only the table it is given.
-- Deploy: at any time. Partitioned tables also need 003_track_ddl.sql.

CREATE TABLE casq.tracked (
    relation regclass PRIMARY KEY,
    kind text COLLATE "C" NOT NULL UNIQUE REFERENCES casq.kinds,
    key_column text NOT NULL,
    scope_column text,
    size_column text,
    payload_columns text[] NOT NULL,
    -- Column numbers by name, true while relation still has relation_oid: they
    -- find a column after a rename. A restored dump is followed by name.
    numbers jsonb NOT NULL,
    relation_oid oid NOT NULL,
    tracked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION casq.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'casq: % is tracked, TRUNCATE would remove its rows without an event', TG_RELID::regclass
        USING ERRCODE = 'feature_not_supported',
              HINT = 'DELETE FROM the table, or SELECT casq.untrack(...) first.';
END $$;

CREATE FUNCTION casq.refuse_key(kind text, key text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'casq: kind %: a key has 1 to 1024 bytes, this one has %', kind, octet_length(key)
        USING ERRCODE = 'check_violation', DETAIL = format('The key begins with %L.', left(key, 64));
END $$;

CREATE FUNCTION casq.refuse_size(kind text, key text, size numeric) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'casq: kind %: size % does not fit into bigint', kind, size
        USING ERRCODE = 'numeric_value_out_of_range', DETAIL = format('The key begins with %L.', left(key, 64));
END $$;

-- The type below any domains.
CREATE FUNCTION casq.base_type(type oid) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE domain AS (
        SELECT oid, typtype, typbasetype FROM pg_type WHERE oid = type
        UNION ALL
        SELECT b.oid, b.typtype, b.typbasetype FROM domain AS d
        JOIN pg_type AS b ON d.typtype = 'd' AND b.oid = d.typbasetype
    )
    SELECT oid FROM domain WHERE typtype <> 'd'
$$;

CREATE FUNCTION casq.owner() RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT nspowner FROM pg_namespace WHERE nspname = 'casq'
$$;

-- The relation itself, and all its partitions at every level.
CREATE FUNCTION casq.members(relation regclass) RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT members.relation UNION SELECT relid FROM pg_partition_tree(members.relation)
$$;

-- A tracked column as it is now, also when it was renamed meanwhile.
CREATE FUNCTION casq.tracked_column(t casq.tracked, called text) RETURNS pg_attribute
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_column pg_attribute;
BEGIN
    SELECT * INTO found_column FROM pg_attribute AS a
    WHERE a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
      AND CASE WHEN t.relation_oid = t.relation::oid AND t.numbers ? called
               THEN a.attnum = (t.numbers ->> called)::smallint
               ELSE a.attname = called END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: table % has no column %, which kind % needs',
            t.relation, quote_ident(called), t.kind
            USING ERRCODE = 'undefined_column',
                  HINT = format('Name a column that exists; to give up a tracked one: SELECT casq.untrack(%L).', t.relation);
    END IF;
    RETURN found_column;
END $$;

-- The index that keeps the key unique; NULL when there is none. Any such index
-- of a partitioned table makes the key unique over all partitions.
CREATE FUNCTION casq.key_index(relation regclass, number smallint) RETURNS pg_index
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT i FROM pg_index AS i
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = number
    WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = number
    ORDER BY i.indcollation[0] = a.attcollation DESC, i.indexrelid
    LIMIT 1
$$;

-- The SQL that a tracked table's statements are made of; r is a row of it.
CREATE TYPE casq.track_sql AS (
    root text,          -- the table, qualified and quoted
    key text,           -- the key of r, as it is grouped by
    resource_id text,   -- the event's resource_id, from c.key
    present text,       -- whether r is the row of c.key
    scope text,         -- the scope of r
    size text,          -- the size of r, maybe NULL
    bytes text,         -- i.size as bigint, 0 for NULL
    images text[],      -- what of r to compare to see a change
    payload text        -- what is told of r
);

CREATE FUNCTION casq.track_sql(t casq.tracked) RETURNS casq.track_sql
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s casq.track_sql;
    a pg_attribute := casq.tracked_column(t, t.key_column);
    base oid := casq.base_type(a.atttypid);
    key_collation pg_collation;
    called text;
    told text;
    fields text[] := '{}';
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname) INTO s.root
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = t.relation;
    IF base IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN
        -- Things are told apart by bytes, whatever the column's collation says.
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

    s.scope := 'NULL::text';
    IF t.scope_column IS NOT NULL THEN
        a := casq.tracked_column(t, t.scope_column);
        s.scope := format('r.%I::text COLLATE "C"', a.attname);
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
END $$;

-- The statement that logs the rows of old_rows and new_rows (transition tables,
-- or a partition that comes or goes), op being INSERT, UPDATE or DELETE.
--
-- What changed, per key and scope, comes from the two: rows are told apart by
-- key, for transition tables have no pairing, and summed up, for two cascades
-- that update one row share a transition table. Whether the thing is there, and
-- its payload, come from the table as it is now, p: a trigger of the user's may
-- have gone on since. Under REPEATABLE READ an older row with the key, deleted
-- after the snapshot, may still be visible: the youngest is ours.
CREATE FUNCTION casq.log_statement(
    t casq.tracked, op text, old_rows text DEFAULT 'casq_old', new_rows text DEFAULT 'casq_new'
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s casq.track_sql := casq.track_sql(t);
    rows_of text := format('SELECT %s AS key, %s AS scope, %s AS size', s.key, s.scope, s.size);
    images text := '';
    names text := '';
    changes text;
BEGIN
    IF op = 'UPDATE' THEN
        FOR n IN 1 .. cardinality(s.images) LOOP
            images := format('%s, %s AS image%s', images, s.images[n], n);
            names := format('%s, i.image%s', names, n);
        END LOOP;
        changes := format($sql$
            SELECT i.key, i.scope, i.size, i.items, sum(i.items) OVER (PARTITION BY i.key) AS net
            FROM (
                SELECT i.key, i.scope, sum(i.sign * %1$s)::bigint AS size, sum(i.sign)::bigint AS items
                FROM (
                    SELECT i.key, i.scope, i.size, sum(i.sign) AS sign
                    FROM (%2$s, -1 AS sign%4$s FROM %5$s AS r UNION ALL %2$s, 1 AS sign%4$s FROM %6$s AS r) AS i
                    GROUP BY i.key, i.scope, i.size%3$s
                    HAVING sum(i.sign) <> 0
                ) AS i
                GROUP BY i.key, i.scope
            ) AS i$sql$, s.bytes, rows_of, names, images, old_rows, new_rows);
    ELSE
        changes := format('SELECT i.key, i.scope, %1$s * %2$s AS size, %1$s AS items, %1$s AS net FROM (%3$s FROM %4$s AS r) AS i',
            CASE op WHEN 'INSERT' THEN 1 ELSE -1 END, s.bytes, rows_of,
            CASE op WHEN 'INSERT' THEN new_rows ELSE old_rows END);
    END IF;
    RETURN format($sql$
        INSERT INTO casq.events (kind, resource_id, op, scope_id, size_delta, item_delta, payload)
        SELECT %1$L, %2$s, e.op, e.scope, e.size, e.items, e.payload
        FROM (%3$s) AS c
        LEFT JOIN LATERAL (
            SELECT %4$s AS payload, %5$s AS scope FROM %6$s AS r WHERE %7$s
            ORDER BY age(r.xmin) LIMIT 1
        ) AS p ON true
        CROSS JOIN LATERAL (
            SELECT 1 AS step, c.scope, c.size, c.items,
                   CASE WHEN p.payload IS NULL OR c.net < 0 THEN 'deleted' WHEN c.net > 0 THEN 'created' ELSE 'updated' END AS op,
                   CASE WHEN p.payload IS NULL OR c.net < 0 THEN '{}' ELSE p.payload END AS payload
            UNION ALL
            SELECT 2, p.scope, 0, 0, 'created', p.payload WHERE c.net < 0 AND p.payload IS NOT NULL
        ) AS e
        ORDER BY c.key, e.step, e.items$sql$,
        t.kind, s.resource_id, changes, s.payload, s.scope, s.root, s.present);
END $$;

-- What a trigger does when its own statements no longer fit the table.
CREATE FUNCTION casq.log_statement(kind text, op text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT casq.log_statement(t, log_statement.op) FROM casq.tracked AS t WHERE t.kind = log_statement.kind
$$;

-- (Re)creates casq.log_<kind>(), the trigger function of a tracked table and its
-- partitions. Its statements are static, so that plans are kept. They are planned
-- for whatever is there at first, so the settings keep out the plans that are
-- right for an empty table or a bulk load and ruinous afterwards; they cost
-- nothing measurable. An insert or delete of one row costs 35 us more, an update
-- 60 us, one of no row 6 us; in bulk a row costs 7, 11 and 4 us (insert, update,
-- delete). A way of its own for updates of one row saved 10 us: not worth it.
--
-- A rename that no event trigger followed makes the statements stale; that is
-- found before anything is written, and the statement is made anew each time.
CREATE FUNCTION casq.put_log_function(t casq.tracked) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s casq.track_sql := casq.track_sql(t);
    columns text;
    body text;
    owner text := (SELECT rolname FROM pg_roles WHERE oid = casq.owner());
BEGIN
    SELECT string_agg(DISTINCT format('r.%I', (casq.tracked_column(t, called)).attname), ', ') INTO columns
    FROM unnest(t.payload_columns || ARRAY[t.key_column, t.scope_column, t.size_column]) AS called
    WHERE called IS NOT NULL;
    body := format($body$
DECLARE
    stale boolean;
BEGIN
    BEGIN
        stale := TG_RELID <> %1$L::regclass
            AND pg_partition_root(TG_RELID) IS DISTINCT FROM %1$L::regclass;
        IF TG_OP = 'INSERT' THEN
            PERFORM %2$s FROM casq_new AS r LIMIT 1;
        ELSE
            PERFORM %2$s FROM casq_old AS r LIMIT 1;
        END IF;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    EXCEPTION WHEN invalid_schema_name OR undefined_table OR undefined_column THEN
        stale := true;
    END;
    IF stale THEN
        EXECUTE coalesce(casq.log_statement(%3$L, TG_OP), 'SELECT');
    ELSIF TG_OP = 'INSERT' THEN %4$s;
    ELSIF TG_OP = 'UPDATE' THEN %5$s;
    ELSE %6$s;
    END IF;
    RETURN NULL;
END $body$, s.root, columns, t.kind, casq.log_statement(t, 'INSERT'),
        casq.log_statement(t, 'UPDATE'), casq.log_statement(t, 'DELETE'));
    IF EXISTS (SELECT FROM pg_proc WHERE proname = 'log_' || t.kind AND prosrc = body
                                     AND pronamespace = 'casq'::regnamespace) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION casq.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER'
        ' SET search_path = pg_catalog, pg_temp SET row_security = off SET enable_seqscan = off SET jit = off AS %L',
        'log_' || t.kind, body);
    -- Else a role could put this function on a table of its own and forge events.
    EXECUTE format('REVOKE ALL ON FUNCTION casq.%I() FROM PUBLIC', 'log_' || t.kind);
    IF current_user <> owner THEN
        EXECUTE format('ALTER FUNCTION casq.%I() OWNER TO %I', 'log_' || t.kind, owner);
    END IF;
END $$;

-- Never called, see casq.put_triggers.
CREATE FUNCTION casq.leave_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN NEW;
END $$;

CREATE FUNCTION casq.trigger_names(kind text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY['casq_' || kind || '_insert', 'casq_' || kind || '_update',
                 'casq_' || kind || '_delete', 'casq_' || kind || '_truncate', 'casq_' || kind || '_merge']
$$;

CREATE FUNCTION casq.put_triggers(kind text, relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

CREATE FUNCTION casq.drop_triggers(kind text, relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT g.tgname FROM pg_trigger AS g
        WHERE g.tgrelid = relation AND g.tgname = ANY (casq.trigger_names(kind))
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', name, relation);
    END LOOP;
END $$;

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
    ELSIF c.relnamespace::regnamespace::text IN ('pg_catalog', 'information_schema', 'pg_toast', 'casq') THEN
        RAISE EXCEPTION 'casq: % belongs to the system, it cannot be tracked', relation
            USING ERRCODE = 'wrong_object_type';
    ELSIF c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = relation OR inhrelid = relation) THEN
        RAISE EXCEPTION 'casq: % takes part in table inheritance, whose rows are changed past its triggers', relation
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'Use declarative partitioning, or ALTER TABLE ... NO INHERIT. ' || untrack;
    END IF;
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
                      HINT = format('GRANT %s TO %s;', c.relowner::regrole, casq.owner()::regrole);
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
    FOREACH called IN ARRAY t.payload_columns || ARRAY[t.key_column, t.scope_column, t.size_column] LOOP
        IF called IS NOT NULL THEN
            a := casq.tracked_column(t, called);
            IF a.attname <> called THEN
                RAISE EXCEPTION 'casq: column % of tracked table % is part of what workers are told, it keeps its name', quote_ident(called), t.relation
                    USING ERRCODE = 'feature_not_supported',
                          HINT = format('In one transaction: SELECT casq.untrack(%L), rename it, SELECT casq.track(...) with the new name.', t.relation);
            END IF;
        END IF;
    END LOOP;
    IF cardinality(t.payload_columns) > 49 THEN
        RAISE EXCEPTION 'casq: a payload has at most 49 columns, these are %', cardinality(t.payload_columns)
            USING ERRCODE = 'too_many_columns';
    END IF;
    FOREACH called IN ARRAY ARRAY[t.key_column, t.scope_column] LOOP
        a := CASE WHEN called IS NOT NULL THEN casq.tracked_column(t, called) END;
        IF called IS NOT NULL AND casq.base_type(a.atttypid) <> ALL (stable_types) THEN
            RAISE EXCEPTION 'casq: column % of % has type %, whose text is not the same everywhere',
                quote_ident(called), t.relation, format_type(a.atttypid, a.atttypmod)
                USING ERRCODE = 'datatype_mismatch',
                      HINT = 'A key or scope is an integer, a uuid or text; a generated text column will do.';
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
                      ELSE format('ALTER TABLE %s ADD UNIQUE (%I);', t.relation, t.key_column) END;
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
BEGIN
    SELECT * INTO t FROM casq.tracked AS k WHERE k.kind = align.kind;
    PERFORM casq.check_relation(t.relation);
    PERFORM casq.check_columns(t);
    PERFORM set_config('casq.aligning', 'on', true);
    t.relation_oid := t.relation;
    t.numbers := (SELECT jsonb_object_agg(attname, attnum) FROM pg_attribute
                  WHERE attrelid = t.relation AND attname = ANY (t.payload_columns || ARRAY[t.key_column, t.scope_column, t.size_column]));
    UPDATE casq.tracked AS k SET relation_oid = t.relation_oid, numbers = t.numbers
    WHERE k.kind = t.kind AND (k.relation_oid, k.numbers) IS DISTINCT FROM (t.relation_oid, t.numbers);
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
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = partition) THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', partition);
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'casq: rows of % cannot be logged from an old snapshot', partition
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'Attach and detach partitions of a tracked table under READ COMMITTED.';
    END IF;
    EXECUTE casq.log_statement(t, log_partition.op, partition::text, partition::text);
END $$;

-- Follows every change of a table's rows as events of a kind. Returns the number
-- of rows that were there before. It waits for the transactions that have written
-- the table, and new writers wait behind it: set lock_timeout on a busy one.
CREATE FUNCTION casq.track(
    relation regclass,
    kind text,
    transfer text,
    key_column text,
    scope_column text DEFAULT NULL,
    size_column text DEFAULT NULL,
    payload_columns text[] DEFAULT '{}',
    queue text DEFAULT NULL,
    prefix text DEFAULT ''
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
    wanted.scope_column := track.scope_column;
    wanted.size_column := track.size_column;
    wanted.payload_columns := coalesce((SELECT array_agg(DISTINCT p ORDER BY p) FROM unnest(track.payload_columns) AS p), '{}');
    wanted.numbers := '{}';
    PERFORM casq.check_relation(track.relation), casq.check_columns(wanted);
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = track.relation)
        AND (SELECT count(*) FROM pg_event_trigger WHERE evtname IN ('casq_ddl', 'casq_drop') AND evtenabled = 'A') < 2
    THEN
        RAISE EXCEPTION 'casq: % is partitioned, and nothing here follows new, attached and detached partitions', track.relation
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'A superuser must run once in this database: SELECT casq.install_event_trigger();';
    END IF;

    -- The count may take long, so it comes before any lock.
    EXECUTE format('SELECT count(*) FROM %s', track.relation) INTO existing;
    PERFORM casq.define_kind(track.kind, track.transfer, track.queue, track.prefix);
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', track.relation);
    PERFORM casq.check_relation(track.relation), casq.check_columns(wanted);

    DELETE FROM casq.tracked AS t WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation);
    SELECT * INTO present FROM casq.tracked AS t WHERE t.relation = track.relation OR t.kind = track.kind
    ORDER BY t.relation = track.relation DESC LIMIT 1;
    IF present.relation <> track.relation THEN
        RAISE EXCEPTION 'casq: kind % is that of table %', quote_literal(track.kind), present.relation
            USING ERRCODE = 'duplicate_object',
                  HINT = format('Choose another kind, or SELECT casq.untrack(%L) first.', present.relation);
    ELSIF (present.kind, present.key_column, present.scope_column, present.size_column, present.payload_columns)
        IS DISTINCT FROM (wanted.kind, wanted.key_column, wanted.scope_column, wanted.size_column, wanted.payload_columns)
        AND present.relation IS NOT NULL
    THEN
        RAISE EXCEPTION 'casq: % is tracked otherwise', track.relation
            USING ERRCODE = 'duplicate_object',
                  DETAIL = format('Present: %s.', to_jsonb(present) - '{relation,relation_oid,numbers,tracked_at}'::text[]),
                  HINT = format('SELECT casq.untrack(%L) first, in the same transaction.', track.relation);
    ELSIF present.relation IS NULL THEN
        INSERT INTO casq.tracked (relation, kind, key_column, scope_column, size_column, payload_columns, numbers, relation_oid)
        VALUES (wanted.relation, wanted.kind, wanted.key_column, wanted.scope_column, wanted.size_column,
                wanted.payload_columns, wanted.numbers, wanted.relation_oid);
        -- First the triggers: members without them are partitions that came.
        PERFORM set_config('casq.aligning', 'on', true);
        PERFORM casq.put_log_function(wanted);
        PERFORM casq.put_triggers(wanted.kind, m) FROM casq.members(track.relation) AS m;
    END IF;
    PERFORM casq.align(track.kind);

    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', track.relation) INTO appeared;
    IF existing = 0 AND appeared THEN
        EXECUTE format('SELECT count(*) FROM %s', track.relation) INTO existing;
    END IF;
    IF existing > 0 AND present.relation IS NULL THEN
        RAISE NOTICE 'casq: % rows of % are there already, run: enqueue backfill --kind %', existing, track.relation, track.kind;
    END IF;
    RETURN existing;
END $$;

-- Ends tracking. The kind and its events stay.
CREATE FUNCTION casq.untrack(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone casq.tracked;
BEGIN
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', untrack.relation);
    DELETE FROM casq.tracked AS t WHERE t.relation = untrack.relation RETURNING * INTO gone;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: % is not tracked', untrack.relation
            USING ERRCODE = 'undefined_object',
                  HINT = coalesce('Tracked: ' || (SELECT string_agg(t.relation::text, ', ' ORDER BY t.kind) FROM casq.tracked AS t) || '.',
                                  'No table is tracked.');
    END IF;
    PERFORM casq.drop_triggers(gone.kind, g.tgrelid) FROM (
        SELECT DISTINCT tgrelid FROM pg_trigger WHERE tgname = ANY (casq.trigger_names(gone.kind))
    ) AS g;
    EXECUTE format('DROP FUNCTION casq.%I()', 'log_' || gone.kind);
END $$;

---- create above / drop below ----

DO $$
BEGIN
    PERFORM casq.untrack(t.relation) FROM casq.tracked AS t JOIN pg_class AS c ON c.oid = t.relation;
END $$;
DROP FUNCTION casq.untrack(regclass);
DROP FUNCTION casq.track(regclass, text, text, text, text, text, text[], text, text);
DROP FUNCTION casq.align(text);
DROP FUNCTION casq.log_partition(casq.tracked, regclass, text);
DROP FUNCTION casq.check_columns(casq.tracked);
DROP FUNCTION casq.check_relation(regclass);
DROP FUNCTION casq.drop_triggers(text, regclass);
DROP FUNCTION casq.put_triggers(text, regclass);
DROP FUNCTION casq.trigger_names(text);
DROP FUNCTION casq.put_log_function(casq.tracked);
DROP FUNCTION casq.log_statement(text, text);
DROP FUNCTION casq.log_statement(casq.tracked, text, text, text);
DROP FUNCTION casq.track_sql(casq.tracked);
DROP TYPE casq.track_sql;
DROP FUNCTION casq.key_index(regclass, smallint);
DROP FUNCTION casq.tracked_column(casq.tracked, text);
DROP FUNCTION casq.members(regclass);
DROP FUNCTION casq.owner();
DROP FUNCTION casq.base_type(oid);
DROP FUNCTION casq.refuse_size(text, text, numeric);
DROP FUNCTION casq.refuse_key(text, text);
DROP FUNCTION casq.leave_row();
DROP FUNCTION casq.refuse_truncate();
DROP TABLE casq.tracked;
