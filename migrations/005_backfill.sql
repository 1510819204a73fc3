-- Backfill: events for the rows that were there before their table was tracked.
--
-- Lock: none on existing objects. Deploy: at any time.

-- Appends an updated event without deltas for each row with one of these keys,
-- and returns the keys it did. Without wait, rows that another transaction has
-- locked are left out; with wait, give one key: whoever waits for a row while
-- holding others can be part of a deadlock.
--
-- The rows are locked FOR SHARE: a writer that is not done yet has appended its
-- event already, and an older image must not follow it. FOR KEY SHARE does not
-- wait for such a writer.
CREATE FUNCTION casq.backfill_rows(kind text, keys text[], wait boolean) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
            INSERT INTO casq.events (kind, resource_id, op, scope_id, payload)
            SELECT %8$L, %9$s, 'updated', c.scope, c.payload FROM present AS c
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
) LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t casq.tracked := casq.tracked_kind(backfill_page.kind);
    key_column pg_attribute := casq.tracked_column(t, t.key_column);
    keys text[];
    done text[];
BEGIN
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

CREATE FUNCTION casq.tracked_kind(kind text) RETURNS casq.tracked
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

---- create above / drop below ----

DROP FUNCTION casq.tracked_kind(text);
DROP FUNCTION casq.backfill_page(text, text, integer);
DROP FUNCTION casq.backfill_rows(text, text[], boolean);
