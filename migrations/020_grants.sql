-- Grants: what ordinary roles may do with what casq's owner has.
--
-- Lock: none. Deploy: at any time. Roles that could call functions which run with
-- the rights of casq's owner, because everybody could, need casq.grant_to.

-- What was granted to whom, to be granted again when there is more to grant. By
-- name: a role may be dropped and made again.
CREATE TABLE casq.grants (
    role name NOT NULL,
    what text NOT NULL
        CONSTRAINT grants_what_is_known CHECK (what IN ('worker', 'follower', 'application', 'operator', 'reader')),
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (role, what)
);

-- What a reader may read: all but what runners and builds keep to themselves, which
-- are tokens, also those that are only hashed here, the variables of a build, and what
-- it has printed.
CREATE FUNCTION casq.readable() RETURNS TABLE (privilege text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN bool_or(t.hidden)
                THEN format('SELECT (%s) ON casq.%I', string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum) FILTER (WHERE NOT t.hidden), t.relname)
                ELSE format('SELECT ON casq.%I', t.relname) END
    FROM (
        SELECT c.relname, a.attname, a.attnum, (c.relname, a.attname) IN (
                   ('builds', 'job'), ('builds', 'token_hash'), ('runners', 'token_hash'), ('build_trace_chunks', 'bytes')) AS hidden
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'casq'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped
    ) AS t
    GROUP BY t.relname
$$;

-- What each of them may do. A worker keeps the registry, the counters and the queue,
-- and takes ticks; it appends no event, defines nothing but the kinds that it learns
-- of, and reads tables of the application only by functions of casq's owner. One that
-- follows the log from another site reads it and what it tells of, and reports how far
-- it has come. An application appends events, and reads counters; to write a tracked
-- table it needs nothing here. An operator runs enqueue: of definitions he changes a
-- kind's place, and its end. A reader sees how it goes.
--
-- An application names the columns of an event that it may say: not its
-- transaction, its id, or its time. A reader gets what casq.readable tells.
--
-- Without MAINTAIN, which Postgres has since 17, only an owner may rebuild River's
-- indexes; a worker that may not leaves them.
CREATE FUNCTION casq.privileges() RETURNS TABLE (what text, privilege text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('worker', 'USAGE ON SCHEMA casq, river'),
           ('worker', 'SELECT ON ALL TABLES IN SCHEMA casq, river'),
           ('worker', 'USAGE, SELECT ON ALL SEQUENCES IN SCHEMA casq, river'),
           ('worker', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA casq, river'),
           ('worker', 'INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river'),
           ('worker', 'INSERT, UPDATE, DELETE ON casq.kinds, casq.targets, casq.workers, casq.log_delays,'
               ' casq.registry, casq.moves, casq.registry_counts, casq.registry_changes, casq.registry_floors, casq.cursors, casq.event_failures, casq.processes,'
               ' casq.reconcile_runs, casq.reconcile_counts, casq.reconcile_orphans, casq.probes,'
               ' casq.counter_kinds, casq.counter_shards, casq.counters, casq.scans, casq.refreshes,'
               ' casq.projects, casq.tag_sets, casq.runners, casq.runner_managers, casq.pipelines, casq.builds, casq.build_needs, casq.build_signs,'
               ' casq.build_traces, casq.build_trace_chunks, casq.artifacts, casq.artifact_leftovers'),
           ('worker', 'INSERT ON casq.ticks, casq.timelines'),
           ('worker', 'UPDATE, DELETE ON casq.audit'),
           ('follower', 'USAGE ON SCHEMA casq'),
           ('follower', 'SELECT ON casq.events, casq.ticks, casq.timelines, casq.kinds, casq.migration_version'),
           ('follower', 'SELECT (oldest_program) ON casq.installation'),
           ('follower', 'EXECUTE ON FUNCTION casq.resources, casq.resources_of, casq.resources_missing, casq.check_scopes, casq.report_follower, casq.views_behind'),
           ('application', 'USAGE ON SCHEMA casq'),
           ('application', 'SELECT ON casq.kinds, casq.statistics, casq.counter_status'),
           ('application', 'SELECT (id) ON casq.events'),
           ('application', 'INSERT (kind, resource_id, op, scope_id, moved, size_delta, item_delta, payload) ON casq.events'),
           ('application', 'EXECUTE ON FUNCTION casq.touch, casq.totals, casq.total, casq.scopes_of'),
           ('application', 'SELECT ON casq.server_timelines'),
           ('application', 'EXECUTE ON FUNCTION casq.begin_server_timeline'),
           ('application', 'SELECT ON casq.projects, casq.pipelines, casq.build_needs, casq.tag_sets, casq.build_queue, casq.stuck_pipelines,'
               ' casq.build_traces, casq.build_trace_chunks, casq.artifacts'),
           ('application', 'EXECUTE ON FUNCTION casq.begin_pipeline, casq.add_build, casq.cancel_build, casq.retry_build, casq.why_build'),
           ('operator', 'USAGE ON SCHEMA casq, river'),
           ('operator', 'SELECT ON ALL TABLES IN SCHEMA casq, river'),
           ('operator', 'USAGE, SELECT ON ALL SEQUENCES IN SCHEMA casq, river'),
           ('operator', 'INSERT, UPDATE, DELETE ON casq.kinds, casq.registry, casq.moves, casq.registry_counts, casq.registry_changes, casq.registry_floors, casq.cursors, casq.event_failures, casq.processes,'
               ' casq.reconcile_runs, casq.reconcile_counts, casq.reconcile_orphans, casq.probes, casq.selections,'
               ' casq.counter_shards, casq.counters, casq.scans, casq.refreshes,'
               ' casq.projects, casq.tag_sets, casq.runners, casq.runner_managers, casq.pipelines, casq.builds, casq.build_needs, casq.build_signs,'
               ' casq.build_traces, casq.build_trace_chunks, casq.artifacts, casq.artifact_leftovers'),
           ('operator', 'INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river'),
           ('operator', 'INSERT ON casq.ticks, casq.timelines'),
           ('operator', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA casq, river'),
           ('reader', 'USAGE ON SCHEMA casq, river'),
           ('reader', 'SELECT ON ALL TABLES IN SCHEMA river'),
           ('reader', 'EXECUTE ON FUNCTION casq.totals, casq.total, casq.scopes_of, casq.why_build')
    UNION ALL
    SELECT 'worker', 'MAINTAIN ON ALL TABLES IN SCHEMA river'
    WHERE current_setting('server_version_num')::integer >= 170000
    UNION ALL
    SELECT 'reader', r.privilege FROM casq.readable() AS r
    UNION ALL -- not what variables and tokens its builds were given
    SELECT 'application', r.privilege FROM casq.readable() AS r WHERE r.privilege LIKE '% ON casq.builds'
$$;

-- Takes from everybody what runs with the rights of casq's owner, and grants again
-- what was granted. It is called at the end of each migration.
--
-- A trigger's function is for nobody else's tables: whoever puts it on one of his own
-- chooses the types that it works with, and so the casts that it calls.
CREATE FUNCTION casq.grant_again() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g record;
BEGIN
    FOR g IN SELECT t.role, p.privilege FROM casq.grants AS t JOIN casq.privileges() AS p USING (what)
        WHERE EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = t.role)
    LOOP
        EXECUTE format('GRANT %s TO %I', g.privilege, g.role);
    END LOOP;
    FOR g IN SELECT p.oid::regprocedure AS function, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
        FROM pg_proc AS p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE p.pronamespace = 'casq'::regnamespace AND p.prosecdef AND a.grantee <> p.proowner
          AND (a.grantee = 0 OR p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', g.function, g.role);
    END LOOP;
END $$;

-- Lets a role do what a worker, a follower, an application, an operator or a reader
-- does, now and after later migrations.
CREATE FUNCTION casq.grant_to(role regrole, what text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF grant_to.what IS NULL OR grant_to.what NOT IN (SELECT p.what FROM casq.privileges() AS p) THEN
        RAISE EXCEPTION 'casq: there is no % to grant', coalesce(quote_literal(grant_to.what), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is worker, follower, application, operator or reader.';
    END IF;
    INSERT INTO casq.grants AS g (role, what)
    SELECT r.rolname, grant_to.what FROM pg_roles AS r WHERE r.oid = grant_to.role
    ON CONFLICT ON CONSTRAINT grants_pkey DO NOTHING;
    PERFORM casq.grant_again();
END $$;
COMMENT ON FUNCTION casq.grant_to IS
    'Lets a role do what a worker, a follower, an application, an operator or a reader does, '
    'now and after later migrations. Errors: invalid_parameter_value.';

-- Takes back what casq.grant_to gave, and only that.
CREATE FUNCTION casq.revoke_from(role regrole, what text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g record;
BEGIN
    DELETE FROM casq.grants AS t USING pg_roles AS r
    WHERE r.oid = revoke_from.role AND t.role = r.rolname AND t.what = revoke_from.what;
    IF FOUND THEN
        FOR g IN SELECT p.privilege FROM casq.privileges() AS p WHERE p.what = revoke_from.what LOOP
            EXECUTE format('REVOKE %s FROM %s', g.privilege, revoke_from.role);
        END LOOP;
        PERFORM casq.grant_again();
    END IF;
END $$;
COMMENT ON FUNCTION casq.revoke_from IS 'Takes back what casq.grant_to gave, and only that.';

SELECT casq.grant_again();

---- create above / drop below ----

DROP FUNCTION casq.revoke_from(regrole, text);
DROP FUNCTION casq.grant_to(regrole, text);
DROP FUNCTION casq.grant_again();
DROP FUNCTION casq.privileges();
DROP FUNCTION casq.readable();
DROP TABLE casq.grants;
