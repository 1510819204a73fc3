-- The rows of tracked tables: events for those that were there before, and pages
-- of what is there now.
--
-- Lock: none on existing objects. Deploy: at any time, at the source before its
-- followers, which call these functions there.

-- Appends an updated event without deltas, marked as bulk, for each row with one of
-- these keys, and returns the keys it did. Without wait, rows that another transaction has
-- locked are left out; with wait, give one key: whoever waits for a row while
-- holding others can be part of a deadlock.
--
-- The rows are locked FOR SHARE: a writer that is not done yet has appended its
-- event already, and an older image must not follow it. FOR KEY SHARE does not
-- wait for such a writer.
CREATE FUNCTION casq.backfill_rows(kind text, keys text[], wait boolean) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' AS $$
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
END $$;

-- Does the page of rows after a key (NULL: the first), in the order of the key's
-- own type. n is how many rows it did, last_key where to go on (NULL: the end),
-- busy the keys that it left out since somebody holds them or they went away:
-- do each with casq.backfill_rows(kind, ARRAY[key], true) in its own transaction.
CREATE FUNCTION casq.backfill_page(
    kind text, after text, page_size integer, OUT n bigint, OUT last_key text, OUT busy text[]
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
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
END $$;

-- Appends an updated event with what a row tells now, for a resource whose bytes may have
-- changed without it, and returns the event's id.
--
-- The row is locked FOR SHARE, as in casq.backfill_rows: what another transaction has
-- told of it already, or that it is gone, is not followed by what was before. A snapshot
-- that is older than the row fails (serialization_failure).
CREATE FUNCTION casq.touch(kind text, key text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' SET enable_seqscan = off SET jit = off AS $$
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
END $$;
COMMENT ON FUNCTION casq.touch IS
    'Tells that the bytes of a resource may have changed although its row has not, and '
    'returns the id of the event, which has what the row tells now. Call it after the '
    'change. A file whose payload has the SHA-256 of what is in place is compared, and not '
    'copied again; a repository is fetched. It waits for whoever has the row locked, and, until '
    'the transaction ends, a tracked view waits for it: keep it short. Errors: '
    'undefined_object for a kind that is not known; object_not_in_prerequisite_state for one '
    'without a table here; no_data_found where no row has the key.';

-- How many rows a kind's table has.
CREATE FUNCTION casq.count_rows(kind text) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    t casq.tracked := casq.tracked_kind(count_rows.kind);
    n bigint;
BEGIN
    PERFORM casq.check_trusted(t.relation);
    EXECUTE format('SELECT count(*) FROM %s', t.relation) INTO n;
    RETURN n;
END $$;

-- How the rows of a tracked table (s: its casq.track_sql) are found by key, c.key
-- being one, and r a row: typed makes one of the text w.key, NULL when it is not the text of any;
-- beyond and ordered walk through the index that keeps the key unique.
CREATE FUNCTION casq.key_sql(t casq.tracked, s casq.track_sql, OUT typed text, OUT present text, OUT beyond text, OUT ordered text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- The functions below read tracked tables with the rights of casq's owner, for
-- roles that casq.grant_to lets follow the log, which tells the same. They write
-- nothing: a standby will do.

-- The condition that r, a row of the tracked table, is in one of the scopes that
-- are the statement's argument. A table that lost its scope column must not look
-- as if nothing in it was wanted.
CREATE FUNCTION casq.scope_condition(t casq.tracked, s casq.track_sql, selected text[], argument text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- The page of a kind's resources beyond a key (NULL: the first page), in the order
-- of the key's own type, with the newest tick of the same snapshot. The payloads
-- are those that events have. last_key is where to go on; NULL: the end. listed
-- is false for a kind that has no tracked table here, or that of a view which is not filled yet.
--
-- A site that wants only what is in some scopes (selected; NULL: all of it) is not
-- shown the rest, as if it was not there; last_key is that of all rows of the page.
-- A kind of which nothing is wanted needs no table.
--
-- The page ends early with the resource that makes it most_bytes of keys and payloads;
-- no row beyond is read, for it may be stored apart, and large.
--
-- The settings leave the planner no other way than along the key's index, from
-- the key: a sort, or a scan of all rows, would be paid for each page.
CREATE FUNCTION casq.resources(
    kind text, after text, page_size integer, selected text[], most_bytes bigint DEFAULT 4194304,
    OUT listed boolean, OUT keys text[], OUT payloads text[], OUT scopes text[], OUT last_key text,
    OUT timeline integer, OUT timeline_id uuid, OUT tick bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' AS $$
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
END $$;

-- Those of the keys that exist now, in a scope that is wanted, with their payloads,
-- likewise. A key that is not the text of any value of the column's type does not
-- exist. answered is how many of the keys, from the first one on, most_bytes allow.
CREATE FUNCTION casq.resources_of(
    kind text, asked text[], selected text[], most_bytes bigint DEFAULT 4194304,
    OUT listed boolean, OUT keys text[], OUT payloads text[], OUT scopes text[], OUT answered integer,
    OUT timeline integer, OUT timeline_id uuid, OUT tick bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' AS $$
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
END $$;

-- Those of the keys that do not exist now, or in no scope that is wanted, likewise.
CREATE FUNCTION casq.resources_missing(
    kind text, asked text[], selected text[],
    OUT listed boolean, OUT keys text[],
    OUT timeline integer, OUT timeline_id uuid, OUT tick bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
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
END $$;

-- Raises unless the kind's resources can be told apart by these scopes, each
-- written as the scope column's type writes it: '07' would never be met; '' is the scope of
-- rows without one. A scope that no resource is in will do. NULL and '{}' need a table, too: what left by a
-- selection has to be found again for another one.
CREATE FUNCTION casq.check_scopes(kind text, scopes text[]) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

---- create above / drop below ----

-- Lock: none. Deploy: once nothing follows this log or compares with these tables.
DROP FUNCTION casq.check_scopes(text, text[]);
DROP FUNCTION casq.resources_missing(text, text[], text[]);
DROP FUNCTION casq.resources_of(text, text[], text[], bigint);
DROP FUNCTION casq.resources(text, text, integer, text[], bigint);
DROP FUNCTION casq.scope_condition(casq.tracked, casq.track_sql, text[], text);
DROP FUNCTION casq.key_sql(casq.tracked, casq.track_sql);
DROP FUNCTION casq.count_rows(text);
DROP FUNCTION casq.touch(text, text);
DROP FUNCTION casq.backfill_page(text, text, integer);
DROP FUNCTION casq.backfill_rows(text, text[], boolean);
