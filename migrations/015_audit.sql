-- Who asked for what: kept by triggers, in the transaction that does it.
--
-- Lock: SHARE ROW EXCLUSIVE on what an operator changes, for moments. Deploy: at any
-- time.

-- One row per request of an operator that has changed something: a call of enqueue, an
-- action of the page.
--
-- No command writes here. A session says on whose behalf it works (the setting
-- casq.asked, JSON), and triggers on all that an operator may change add the row, or to
-- the row, whenever such a session changes any of it. So a row is there if and only if
-- what it tells has committed, whichever command, page or statement by hand it was; what
-- was refused or rolled back has none.
--
-- role is that of the session that changed something first, and proved by the server. The
-- rest is what the session says: whoever has the role's password can say what he likes. Rows
-- are not changed or deleted by an operator's role, and none adds to the row of another:
-- only a worker's, which could change it anyway, and goes on with what another has begun.
CREATE TABLE casq.audit (
    id uuid PRIMARY KEY,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- by the last transaction of it
    role name NOT NULL DEFAULT session_user,
    actor text NOT NULL, -- the person, as the command line or the page knows him
    via text NOT NULL, -- cli, page, or river
    origin text NOT NULL, -- the machine, or the address
    action text NOT NULL,
    -- How many resources it was said to touch before it was done; NULL: nothing was said.
    touches bigint,
    -- Rows that were changed, by table. Where a table is written too often by others for
    -- rows to be counted, statements are.
    changed jsonb NOT NULL DEFAULT '{}',
    -- The job that carries it out, of one that takes a while, and what that was to do when
    -- it was asked for: who may write into River's table can change a job.
    job bigint,
    job_args jsonb,
    CONSTRAINT audit_is_bounded CHECK (octet_length(actor) <= 800 AND octet_length(via) <= 80
        AND octet_length(origin) <= 800 AND octet_length(action) <= 4000)
);

COMMENT ON TABLE casq.audit IS
    'Who asked for what: a row for each command of enqueue or action of the page that has '
    'changed something, written in the transactions that did it. Kept for AUDIT_RETENTION; '
    'enqueue audit lists it.';
-- The newest ones, and those that are old enough to go.
CREATE INDEX audit_asked_at ON casq.audit (asked_at);

-- Adds what a statement has changed to the row of the request that it is part of.
-- TG_ARGV[0] tells whether its rows are counted.
CREATE FUNCTION casq.record_change() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    asked constant jsonb := current_setting('casq.asked');
    what constant text := CASE WHEN TG_ARGV[0] = 'rows' THEN TG_TABLE_NAME ELSE TG_TABLE_NAME || ' statements' END;
    n bigint := 1;
BEGIN
    IF TG_ARGV[0] = 'rows' THEN
        SELECT count(*) INTO n FROM casq_changed;
    END IF;
    IF n = 0 THEN
        RETURN NULL;
    END IF;
    INSERT INTO casq.audit AS a (id, actor, via, origin, action, touches, changed)
    VALUES ((asked ->> 'id')::uuid, left(asked ->> 'actor', 200), left(asked ->> 'via', 20), left(asked ->> 'origin', 200),
            left(asked ->> 'action', 1000), (asked ->> 'touches')::bigint, jsonb_build_object(what, n))
    ON CONFLICT ON CONSTRAINT audit_pkey DO UPDATE
    SET changed_at = clock_timestamp(),
        changed = a.changed || jsonb_build_object(what, coalesce((a.changed ->> what)::bigint, 0) + n)
    WHERE a.role = session_user OR has_table_privilege(session_user, 'casq.audit', 'UPDATE');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: request % is another role''s', asked ->> 'id' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;

-- A trigger with a transition table makes each statement on its table keep its rows for a
-- moment, whoever's it is. Of events, which applications write, and of jobs, which River
-- changes, statements are counted but for inserts of jobs: that costs others a look at a setting.
-- (30 inserts of 1000 jobs took 0.82 s with the transition table, and 0.82 s without.)
DO $$
DECLARE
    t record;
    op text;
BEGIN
    FOR t IN SELECT * FROM (VALUES
        ('casq.registry', 'rows', '{UPDATE,DELETE}'::text[]),
        ('casq.kinds', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.selections', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.targets', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.cursors', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.event_failures', 'rows', '{UPDATE,DELETE}'),
        ('casq.reconcile_runs', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.scans', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.refreshes', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.runners', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.builds', 'rows', '{INSERT,UPDATE,DELETE}'),
        ('casq.events', 'statements', '{INSERT}'),
        ('river.river_queue', 'rows', '{UPDATE,DELETE}'),
        ('river.river_job', 'rows', '{INSERT}'),
        ('river.river_job', 'statements', '{UPDATE,DELETE}')
    ) AS v (relation, counted, ops) LOOP
        FOREACH op IN ARRAY t.ops LOOP
            EXECUTE format('CREATE TRIGGER casq_record_%s AFTER %s ON %s %s FOR EACH STATEMENT'
                ' WHEN (current_setting(''casq.asked'', true) <> '''') EXECUTE FUNCTION casq.record_change(%L)',
                lower(op), op, t.relation,
                CASE WHEN t.counted = 'rows' THEN format('REFERENCING %s TABLE AS casq_changed', CASE op WHEN 'DELETE' THEN 'OLD' ELSE 'NEW' END) END,
                t.counted);
        END LOOP;
    END LOOP;
END $$;

---- create above / drop below ----

-- Lock: SHARE ROW EXCLUSIVE on those tables.
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT g.tgname, g.tgrelid::regclass AS relation FROM pg_trigger AS g WHERE g.tgfoid = 'casq.record_change()'::regprocedure LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.relation);
    END LOOP;
END $$;
DROP FUNCTION casq.record_change();
DROP TABLE casq.audit;
