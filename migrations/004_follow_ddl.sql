-- Follows what DDL does to tracked tables: partitions that come and go, renames,
-- and whatever would lose events.
--
-- Lock: none on existing objects. Deploy: at any time; by a superuser, or a
-- superuser runs SELECT casq.install_event_trigger() once afterwards.

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
    PERFORM casq.check_columns(t) FROM casq.tracked AS t
    WHERE EXISTS (
        SELECT FROM pg_event_trigger_dropped_objects() AS d
        WHERE d.object_type = 'table column' AND d.objid = t.relation OR d.object_type = 'index' AND d.original
    ) AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation);
END $$;

REVOKE ALL ON FUNCTION casq.on_ddl(), casq.on_drop() FROM PUBLIC;

-- Run by a superuser, once per database. Without it only ordinary tables can be
-- tracked; a renamed one is followed all the same, at some 1 ms a statement.
CREATE FUNCTION casq.install_event_trigger() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    DROP EVENT TRIGGER IF EXISTS casq_ddl;
    DROP EVENT TRIGGER IF EXISTS casq_drop;
    CREATE EVENT TRIGGER casq_ddl ON ddl_command_end
        WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'ALTER SCHEMA',
                     'ALTER TYPE', 'CREATE SUBSCRIPTION', 'ALTER SUBSCRIPTION')
        EXECUTE FUNCTION casq.on_ddl();
    CREATE EVENT TRIGGER casq_drop ON sql_drop EXECUTE FUNCTION casq.on_drop();
    ALTER EVENT TRIGGER casq_ddl ENABLE ALWAYS;
    ALTER EVENT TRIGGER casq_drop ENABLE ALWAYS;
    PERFORM casq.align(t.kind) FROM casq.tracked AS t ORDER BY t.kind;
END $$;

DO $$
BEGIN
    PERFORM casq.install_event_trigger();
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'casq: partitioned tables cannot be tracked yet: a superuser must run SELECT casq.install_event_trigger()';
END $$;

---- create above / drop below ----

DO $$
BEGIN
    SET LOCAL client_min_messages = warning;
    DROP EVENT TRIGGER IF EXISTS casq_ddl;
    DROP EVENT TRIGGER IF EXISTS casq_drop;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'casq: the event triggers belong to a superuser'
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'A superuser must run DROP EVENT TRIGGER casq_ddl; DROP EVENT TRIGGER casq_drop;';
END $$;
DROP FUNCTION casq.install_event_trigger();
DROP FUNCTION casq.on_drop();
DROP FUNCTION casq.on_ddl();
