-- Recounts of large tables: in parts, each with its own snapshot.
--
-- Lock: casq.scans and casq.refreshes, for a moment. Deploy: at any time; a recount
-- that is under way in an older worker fails once and is tried again.

-- A recount whose one pass over the table would hold its snapshot for too long is
-- carried out in parts, which are scans themselves. Those of a table begin beyond
-- one scope and end with another, one after the other; those of the rest are lists
-- of counters that the table had no rows for. part_of: the recount that was asked
-- for, also for a list that was divided.
ALTER TABLE casq.scans
    ADD in_parts boolean NOT NULL DEFAULT false,
    ADD part_of bigint REFERENCES casq.scans ON DELETE SET NULL,
    ADD part text CONSTRAINT scans_part_is_known CHECK (part IN ('table', 'rest', 'list')),
    ADD after_scope text COLLATE "C", -- where the part begins; NULL: at the first one
    ADD last_scope text COLLATE "C",  -- where it ended; NULL: nothing is left
    ADD flush_job bigint,
    ADD CONSTRAINT scans_part_belongs_to_a_recount CHECK (part IS NOT NULL OR part_of IS NULL);
ALTER TABLE casq.scans RENAME shards_left TO shards;
CREATE INDEX scans_parts ON casq.scans (part_of) WHERE part_of IS NOT NULL;
UPDATE casq.scans AS s SET flush_job = (SELECT max(r.flush_job) FROM casq.refreshes AS r WHERE r.scan = s.id);

DROP VIEW casq.refresh_status;
ALTER TABLE casq.refreshes DROP flush_job;
-- No query needs it, and with it no swap can update a row in its place.
DROP INDEX casq.refreshes_open;
ALTER TABLE casq.refreshes SET (fillfactor = 70);
CREATE VIEW casq.refresh_status AS
SELECT r.id, r.kind, r.scope_id, r.state, s.compare, r.requested_at, r.started_at, r.finalizing_at, r.finished_at,
       s.job AS scan_job, r.finalize_job, s.flush_job, r.flush_epoch, s.host, s.scanned_rows, s.tries,
       r.old_size, r.new_size, r.old_items, r.new_items, r.drift_size, r.drift_items,
       s.floor_tick, s.life AS scan_life, s.tick AS scan_tick, s.mark AS scan_mark, s.xids AS scan_xids, r.reason, r.scan,
       s.part_of
FROM casq.refreshes AS r
JOIN casq.scans AS s ON s.id = r.scan;

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
CREATE OR REPLACE FUNCTION casq.sum_by_scope(kind text, scopes text[])
RETURNS TABLE (scope_id text, size numeric, items bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t casq.tracked := casq.tracked_kind(sum_by_scope.kind);
    scope_column pg_attribute;
    size text := '0::numeric';
    scope text;
    wanted text := '';
    together text;
    type text;
BEGIN
    IF t.scope_column IS NULL THEN
        RAISE EXCEPTION 'casq: kind % has no scope column, there is nothing to count it by', quote_literal(t.kind)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Track the table again with scope_column => ''...''.';
    END IF;
    scope_column := casq.tracked_column(t, t.scope_column);
    scope := format('r.%I', scope_column.attname);
    IF scope_column.attcollation <> 0 THEN
        -- Scopes are told apart by bytes, whatever the collation says.
        scope := scope || '::text COLLATE "C"';
    END IF;
    together := 'GROUP BY ' || scope;
    IF t.size_column IS NOT NULL THEN
        size := format('coalesce(sum(r.%I), 0)::numeric', (casq.tracked_column(t, t.size_column)).attname);
    END IF;
    IF scopes IS NOT NULL THEN
        type := format_type(casq.base_type(scope_column.atttypid), -1);
        scopes := casq.values_of(type, scopes);
        wanted := format('WHERE r.%I = ANY ($1::%s[])', scope_column.attname, type);
    END IF;
    IF cardinality(scopes) = 1 AND casq.equal_is_same(scope_column, scopes[1]) THEN
        scope := '$1[1]';
        together := 'HAVING count(*) > 0';
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT g.scope::text, g.size, g.items FROM (SELECT %1$s AS scope, %2$s AS size, count(*) AS items FROM %3$s AS r %4$s %5$s OFFSET 0) AS g WHERE num_nonnulls(g.scope) > 0',
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
-- read in whatever way is fastest.
CREATE FUNCTION casq.sum_beyond(kind text, after_scope text, most integer)
RETURNS TABLE (scope_id text, size numeric, items bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
BEGIN
    IF after_scope IS NOT NULL THEN
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
        scope := scope || '::text COLLATE "C"';
        ordered := format('min(%s)', col);
    END IF;
    IF t.size_column IS NOT NULL THEN
        size := format('coalesce(sum(r.%I), 0)::numeric', (casq.tracked_column(t, t.size_column)).attname);
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT %1$s::text, %2$s, count(*) FROM %3$s AS r WHERE %4$s GROUP BY %1$s ORDER BY %5$s',
        scope, size, t.relation, wanted, ordered)
    USING after_scope, upto;
END $$;

---- create above / drop below ----

DROP VIEW casq.refresh_status;
ALTER TABLE casq.refreshes RESET (fillfactor);
CREATE INDEX refreshes_open ON casq.refreshes (kind, scope_id) WHERE finished_at IS NULL;
ALTER TABLE casq.refreshes ADD flush_job bigint;
UPDATE casq.refreshes AS r SET flush_job = s.flush_job FROM casq.scans AS s WHERE s.id = r.scan;
CREATE VIEW casq.refresh_status AS
SELECT r.id, r.kind, r.scope_id, r.state, s.compare, r.requested_at, r.started_at, r.finalizing_at, r.finished_at,
       s.job AS scan_job, r.finalize_job, r.flush_job, r.flush_epoch, s.host, s.scanned_rows, s.tries,
       r.old_size, r.new_size, r.old_items, r.new_items, r.drift_size, r.drift_items,
       s.floor_tick, s.life AS scan_life, s.tick AS scan_tick, s.mark AS scan_mark, s.xids AS scan_xids, r.reason, r.scan
FROM casq.refreshes AS r
JOIN casq.scans AS s ON s.id = r.scan;
-- Recounts in parts are over: whoever wants them asks again.
UPDATE casq.refreshes AS r SET state = 'failed', finished_at = clock_timestamp(), reason = 'recounts in parts were migrated away'
FROM casq.scans AS s WHERE s.id = r.scan AND s.finished_at IS NULL AND (s.in_parts OR s.part_of IS NOT NULL) AND r.finished_at IS NULL;
UPDATE casq.scans SET finished_at = clock_timestamp() WHERE finished_at IS NULL AND (in_parts OR part_of IS NOT NULL);
ALTER TABLE casq.scans RENAME shards TO shards_left;
ALTER TABLE casq.scans DROP flush_job, DROP last_scope, DROP after_scope, DROP part, DROP part_of, DROP in_parts;
DROP FUNCTION casq.has_scope_index(text);
DROP FUNCTION casq.sum_beyond(text, text, integer);
CREATE OR REPLACE FUNCTION casq.sum_by_scope(kind text, scopes text[])
RETURNS TABLE (scope_id text, size numeric, items bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t casq.tracked := casq.tracked_kind(sum_by_scope.kind);
    scope_column pg_attribute;
    size text := '0::numeric';
    scope text;
    wanted text := '';
BEGIN
    IF t.scope_column IS NULL THEN
        RAISE EXCEPTION 'casq: kind % has no scope column, there is nothing to count it by', quote_literal(t.kind)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Track the table again with scope_column => ''...''.';
    END IF;
    scope_column := casq.tracked_column(t, t.scope_column);
    scope := format('r.%I', scope_column.attname);
    IF scope_column.attcollation <> 0 THEN
        -- Scopes are told apart by bytes, whatever the collation says.
        scope := scope || '::text COLLATE "C"';
    END IF;
    IF t.size_column IS NOT NULL THEN
        size := format('coalesce(sum(r.%I), 0)::numeric', (casq.tracked_column(t, t.size_column)).attname);
    END IF;
    IF scopes IS NOT NULL THEN
        wanted := format('WHERE r.%I = ANY ($1::%s[])', scope_column.attname,
            format_type(casq.base_type(scope_column.atttypid), -1));
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT g.scope::text, g.size, g.items FROM (SELECT %1$s AS scope, %2$s AS size, count(*) AS items FROM %3$s AS r %4$s GROUP BY %1$s) AS g WHERE num_nonnulls(g.scope) > 0',
        scope, size, t.relation, wanted) USING scopes;
END $$;
DROP FUNCTION casq.values_of(text, text[]);
DROP FUNCTION casq.equal_is_same(pg_attribute, text);
