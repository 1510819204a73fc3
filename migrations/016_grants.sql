-- Grants: what ordinary roles may do with what casq's owner has.
--
-- Lock: none. Deploy: at any time. Roles that could call functions which run with
-- the rights of casq's owner, because everybody could, need casq.grant_to.

-- What was granted to whom, to be granted again when there is more to grant. By
-- name: a role may be dropped and made again.
CREATE TABLE casq.grants (
    role name NOT NULL,
    what text NOT NULL
        CONSTRAINT grants_what_is_known CHECK (what IN ('follower', 'application', 'operator')),
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (role, what)
);

-- What each of them may do. One that follows the log from another site reads it
-- and what it tells of, and reports how far it has come. An application appends
-- events, and reads counters; to write a tracked table it needs nothing here. An
-- operator runs enqueue: of definitions he changes a kind's place, and its end.
--
-- An application names the columns of an event that it may say: not its
-- transaction, its id, or its time.
CREATE FUNCTION casq.privileges() RETURNS TABLE (what text, privilege text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('follower', 'USAGE ON SCHEMA casq'),
           ('follower', 'SELECT ON casq.events, casq.ticks, casq.timelines, casq.kinds, casq.migration_version'),
           ('follower', 'EXECUTE ON FUNCTION casq.resources, casq.resources_of, casq.resources_missing, casq.check_scopes, casq.report_follower'),
           ('application', 'USAGE ON SCHEMA casq'),
           ('application', 'SELECT ON casq.kinds, casq.statistics, casq.counter_status'),
           ('application', 'SELECT (id) ON casq.events'),
           ('application', 'INSERT (kind, resource_id, op, scope_id, size_delta, item_delta, payload) ON casq.events'),
           ('application', 'EXECUTE ON FUNCTION casq.totals, casq.total, casq.scopes_of'),
           ('application', 'SELECT ON casq.server_timelines'),
           ('application', 'EXECUTE ON FUNCTION casq.begin_server_timeline'),
           ('application', 'SELECT ON casq.projects, casq.pipelines, casq.builds, casq.build_needs, casq.tag_sets, casq.build_queue, casq.stuck_pipelines,'
               ' casq.build_traces, casq.build_trace_chunks, casq.artifacts'),
           ('application', 'EXECUTE ON FUNCTION casq.begin_pipeline, casq.add_build, casq.cancel_build, casq.retry_build, casq.why_build'),
           ('operator', 'USAGE ON SCHEMA casq, river'),
           ('operator', 'SELECT ON ALL TABLES IN SCHEMA casq, river'),
           ('operator', 'USAGE, SELECT ON ALL SEQUENCES IN SCHEMA casq, river'),
           ('operator', 'INSERT, UPDATE, DELETE ON casq.kinds, casq.registry, casq.registry_counts, casq.registry_changes, casq.registry_floors, casq.cursors, casq.event_failures, casq.processes,'
               ' casq.reconcile_runs, casq.reconcile_counts, casq.reconcile_orphans, casq.selections,'
               ' casq.counter_shards, casq.counters, casq.scans, casq.refreshes,'
               ' casq.projects, casq.tag_sets, casq.runners, casq.runner_managers, casq.pipelines, casq.builds, casq.build_needs, casq.build_signs,'
               ' casq.build_traces, casq.build_trace_chunks, casq.artifacts, casq.artifact_leftovers'),
           ('operator', 'INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river'),
           ('operator', 'INSERT ON casq.ticks, casq.timelines'),
           ('operator', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA casq, river')
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

-- Lets a role do what a follower, an application or an operator does, now and
-- after later migrations.
CREATE FUNCTION casq.grant_to(role regrole, what text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF grant_to.what IS NULL OR grant_to.what NOT IN (SELECT p.what FROM casq.privileges() AS p) THEN
        RAISE EXCEPTION 'casq: there is no % to grant', coalesce(quote_literal(grant_to.what), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is follower, application or operator.';
    END IF;
    INSERT INTO casq.grants AS g (role, what)
    SELECT r.rolname, grant_to.what FROM pg_roles AS r WHERE r.oid = grant_to.role
    ON CONFLICT ON CONSTRAINT grants_pkey DO NOTHING;
    PERFORM casq.grant_again();
END $$;

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

SELECT casq.grant_again();

---- create above / drop below ----

DROP FUNCTION casq.revoke_from(regrole, text);
DROP FUNCTION casq.grant_to(regrole, text);
DROP FUNCTION casq.grant_again();
DROP FUNCTION casq.privileges();
DROP TABLE casq.grants;
