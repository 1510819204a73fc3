-- Comparing the registry with the source, and keeping what came of it.
--
-- Lock: none on existing objects. Deploy: at any time.

-- One row per run: what was asked for, how far it is, and when it ended. A run
-- that is asked for in the transaction which makes it necessary cannot be
-- forgotten.
CREATE TABLE casq.reconcile_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text COLLATE "C", -- NULL: all
    reason text NOT NULL
        CONSTRAINT reconcile_reason_is_known CHECK (reason IN ('asked', 'scheduled', 'lost', 'pruned')),
    dry_run boolean NOT NULL DEFAULT false,
    -- Only rows whose intent came with a tick beyond this one; NULL: all.
    beyond_life integer,
    beyond_tick bigint,
    -- The source is looked at only on a host that shows this tick; NULL: any.
    at_life integer,
    at_tick bigint,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    not_before timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    -- Who carries it out; another may take over once that process is dead.
    process uuid,
    waiting text, -- why it stands still
    -- How far it is: moved in the transaction that has the page's effects.
    phase text NOT NULL DEFAULT 'things'
        CONSTRAINT reconcile_phase_is_known CHECK (phase IN ('things', 'rows', 'staging')),
    at_kind text COLLATE "C",
    after_key text COLLATE "C",
    CONSTRAINT reconcile_progress_is_whole CHECK (after_key IS NULL OR at_kind IS NOT NULL)
);
CREATE INDEX reconcile_runs_open ON casq.reconcile_runs (id) WHERE finished_at IS NULL;

-- What a run has found, and done unless it is a dry one, by kind; staging
-- belongs to no kind: ''.
CREATE TABLE casq.reconcile_counts (
    run bigint NOT NULL REFERENCES casq.reconcile_runs ON DELETE CASCADE,
    kind text COLLATE "C" NOT NULL,
    -- The source has no table to list this kind from.
    unlisted boolean NOT NULL DEFAULT false,
    looked_at bigint NOT NULL DEFAULT 0, -- things and rows, together
    created bigint NOT NULL DEFAULT 0,
    adopted bigint NOT NULL DEFAULT 0, -- created, and something is in place
    changed bigint NOT NULL DEFAULT 0,
    removed bigint NOT NULL DEFAULT 0,
    requeued bigint NOT NULL DEFAULT 0,
    checks bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0, -- left to the log, which knows better
    staging_removed bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run, kind)
) WITH (fillfactor = 50);

CREATE VIEW casq.reconcile_report AS
SELECT r.id AS run, r.reason, r.dry_run,
       CASE WHEN r.finished_at IS NOT NULL THEN 'finished'
            WHEN EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.process AND p.dead_at IS NULL) THEN 'running'
            WHEN r.waiting IS NOT NULL THEN 'waiting'
            ELSE 'asked' END AS state,
       r.phase, r.at_kind, r.waiting, r.requested_at, r.started_at, r.finished_at,
       c.kind, c.unlisted, c.looked_at, c.created, c.adopted, c.changed, c.removed, c.requeued, c.checks, c.late, c.staging_removed
FROM casq.reconcile_runs AS r
LEFT JOIN casq.reconcile_counts AS c ON c.run = r.id;

-- How the rows of a tracked table are found by key, c.key being one, and r a
-- row: typed makes one of the text w.key, NULL when it is not the text of any;
-- beyond and ordered walk through the index that keeps the key unique.
CREATE FUNCTION casq.key_sql(t casq.tracked, OUT typed text, OUT present text, OUT beyond text, OUT ordered text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a pg_attribute := casq.tracked_column(t, t.key_column);
    base oid := casq.base_type(a.atttypid);
    s casq.track_sql := casq.track_sql(t);
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

-- The newest tick that this host shows. What it shows of a tracked table in the
-- same snapshot is not older than that.
CREATE FUNCTION casq.newest_tick(OUT life integer, OUT life_id uuid, OUT tick bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_sort = off AS $$
    SELECT l.life, l.id, t.id FROM casq.ticks AS t JOIN casq.lives AS l ON l.life = t.life
    ORDER BY t.id DESC LIMIT 1
$$;

-- The functions below read tracked tables for whoever may read the log, which
-- tells the same. They write nothing: a standby will do.
CREATE FUNCTION casq.may_read_log() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT has_table_privilege(session_user, 'casq.events', 'SELECT') THEN
        RAISE EXCEPTION 'casq: role % may not read the log, and so not what it tells of', session_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('GRANT SELECT ON ALL TABLES IN SCHEMA casq TO %I;', session_user);
    END IF;
END $$;

-- The page of a kind's things beyond a key (NULL: the first page), in the order
-- of the key's own type, with the newest tick of the same snapshot. The payloads
-- are those that events have. last_key is where to go on; NULL: the end. listed
-- is false for a kind that has no tracked table here.
--
-- The settings leave the planner no other way than along the key's index, from
-- the key: a sort, or a scan of all rows, would be paid for each page.
CREATE FUNCTION casq.things(
    kind text, after text, page_size integer,
    OUT listed boolean, OUT keys text[], OUT payloads text[], OUT last_key text,
    OUT life integer, OUT life_id uuid, OUT tick bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    t casq.tracked;
    s casq.track_sql;
    k record;
BEGIN
    PERFORM casq.may_read_log();
    SELECT n.life, n.life_id, n.tick INTO life, life_id, tick FROM casq.newest_tick() AS n;
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = things.kind;
    listed := FOUND;
    IF NOT listed THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t);
    EXECUTE format('SELECT array_agg(page.key), array_agg(page.payload)'
        ' FROM (SELECT %s::text AS key, (%s)::text AS payload FROM %s AS r WHERE %s ORDER BY %s LIMIT $2) AS page',
        s.key, s.payload, s.root, CASE WHEN after IS NULL THEN 'true' ELSE k.beyond END, k.ordered)
    INTO keys, payloads USING after, page_size;
    last_key := keys[cardinality(keys)];
END $$;

-- Those of the keys that exist now, with their payloads, likewise. A key that
-- is not the text of any value of the column's type does not exist.
CREATE FUNCTION casq.things_of(
    kind text, asked text[],
    OUT listed boolean, OUT keys text[], OUT payloads text[],
    OUT life integer, OUT life_id uuid, OUT tick bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    t casq.tracked;
    s casq.track_sql;
    k record;
BEGIN
    PERFORM casq.may_read_log();
    SELECT n.life, n.life_id, n.tick INTO life, life_id, tick FROM casq.newest_tick() AS n;
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = things_of.kind;
    listed := FOUND;
    IF NOT listed THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t);
    -- LIMIT keeps the planner from turning the look-ups into a join over all.
    EXECUTE format('SELECT array_agg(w.key), array_agg(found.payload) FROM unnest($1) AS w (key)'
        ' CROSS JOIN LATERAL (SELECT %s AS key) AS c'
        ' CROSS JOIN LATERAL (SELECT (%s)::text AS payload FROM %s AS r WHERE %s LIMIT 1) AS found',
        k.typed, s.payload, s.root, k.present)
    INTO keys, payloads USING asked;
END $$;

-- Those of the keys that do not exist now, likewise.
CREATE FUNCTION casq.things_missing(
    kind text, asked text[],
    OUT listed boolean, OUT keys text[],
    OUT life integer, OUT life_id uuid, OUT tick bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    t casq.tracked;
    s casq.track_sql;
    k record;
BEGIN
    PERFORM casq.may_read_log();
    SELECT n.life, n.life_id, n.tick INTO life, life_id, tick FROM casq.newest_tick() AS n;
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = things_missing.kind;
    listed := FOUND;
    IF NOT listed THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t);
    EXECUTE format('SELECT array_agg(w.key) FROM unnest($1) AS w (key)'
        ' CROSS JOIN LATERAL (SELECT %s AS key) AS c'
        ' LEFT JOIN LATERAL (SELECT true AS here FROM %s AS r WHERE %s LIMIT 1) AS found ON true'
        ' WHERE found.here IS NULL',
        k.typed, s.root, k.present)
    INTO keys USING asked;
END $$;

---- create above / drop below ----

DROP FUNCTION casq.things_missing(text, text[]);
DROP FUNCTION casq.things_of(text, text[]);
DROP FUNCTION casq.things(text, text, integer);
DROP FUNCTION casq.may_read_log();
DROP FUNCTION casq.newest_tick();
DROP FUNCTION casq.key_sql(casq.tracked);
DROP VIEW casq.reconcile_report;
DROP TABLE casq.reconcile_counts;
DROP TABLE casq.reconcile_runs;
