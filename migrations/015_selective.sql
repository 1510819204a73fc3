-- Selective sync: what a site has of each kind.
--
-- Lock: casq.registry and casq.reconcile_runs, for a moment. Deploy: at any time,
-- at the source before its followers. Workers from before know no selections:
-- select once all are replaced.

-- What this site has of a kind, by the scopes of its things; a kind without a row
-- is had whole. Change it with enqueue select: a change also has to be ordered
-- with batches of the log, and applied to what is there.
CREATE TABLE casq.selections (
    kind text COLLATE "C" PRIMARY KEY,
    scopes text[] COLLATE "C" -- NULL: all of them; empty: nothing
        CONSTRAINT selections_scopes_are_texts CHECK (array_position(scopes, NULL) IS NULL),
    generation bigint NOT NULL DEFAULT 1, -- rises with each change
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Does this site want what is in a scope (NULL: in none) of a kind?
CREATE FUNCTION casq.selected(kind text, scope_id text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT s.scopes IS NULL OR coalesce(selected.scope_id = ANY (s.scopes), false)
        FROM casq.selections AS s WHERE s.kind = selected.kind), true)
$$;

-- As of the newest event, or look at the source. NULL: none, or the row is older
-- than this column. Nothing is decided by it; it is for whoever reads.
ALTER TABLE casq.registry ADD COLUMN scope_id text COLLATE "C";

-- A run that applies a changed selection.
ALTER TABLE casq.reconcile_runs DROP CONSTRAINT reconcile_reason_is_known,
    ADD CONSTRAINT reconcile_reason_is_known CHECK (reason IN ('asked', 'scheduled', 'lost', 'pruned', 'failover', 'selected'));

-- Raises unless the kind's things can be told apart by these scopes, each
-- written as the scope column's type writes it: '07' would never be met. A scope
-- that no thing is in will do. NULL and none need a table, too: what left by a
-- selection has to be found again for another one.
CREATE FUNCTION casq.check_scopes(kind text, scopes text[]) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t casq.tracked;
    a pg_attribute;
    wanted text;
    canonical text;
BEGIN
    PERFORM casq.may_read_log();
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = check_scopes.kind;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'casq: kind % has no tracked table at the source, what is there of it cannot be listed', quote_literal(kind)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Track its table with casq.track(...).';
    END IF;
    IF cardinality(scopes) > 0 AND t.scope_column IS NULL THEN
        RAISE EXCEPTION 'casq: kind % has no scope column, its things cannot be told apart by scope', quote_literal(kind)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Track the table again with scope_column => ''...'', or select all or none of the kind.';
    END IF;
    FOREACH wanted IN ARRAY coalesce(scopes, '{}') LOOP
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

-- The condition that r, a row of the tracked table, is in one of the scopes that
-- are the statement's argument. A table that lost its scope column must not look
-- as if nothing in it was wanted.
CREATE FUNCTION casq.scope_condition(t casq.tracked, selected text[], argument text) RETURNS text
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
    RETURN format('%s = ANY (%s)', (casq.track_sql(t)).scope, argument);
END $$;

-- The functions of the same names without selected, for a site that wants only
-- what is in some scopes (NULL: all of it). What is not in them is not shown, or
-- missing, as if it was not there; last_key is that of all rows of the page. A
-- kind of which nothing is wanted needs no table.
CREATE FUNCTION casq.things(
    kind text, after text, page_size integer, selected text[],
    OUT listed boolean, OUT keys text[], OUT payloads text[], OUT scopes text[], OUT last_key text,
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
    listed := FOUND OR selected IS NOT DISTINCT FROM '{}';
    IF NOT listed OR selected = '{}' THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t);
    EXECUTE format('SELECT array_agg(page.key) FILTER (WHERE page.wanted), array_agg(page.payload) FILTER (WHERE page.wanted),'
        ' array_agg(page.scope) FILTER (WHERE page.wanted), (array_agg(page.key))[count(*)]'
        ' FROM (SELECT w.key, w.scope, w.wanted, CASE WHEN w.wanted THEN w.payload END AS payload'
        ' FROM (SELECT %s::text AS key, (%s)::text AS payload, %s AS scope, coalesce(%s, false) AS wanted FROM %s AS r WHERE %s ORDER BY %s LIMIT $2) AS w) AS page',
        s.key, s.payload, s.scope, casq.scope_condition(t, selected, '$3'), s.root,
        CASE WHEN after IS NULL THEN 'true' ELSE k.beyond END, k.ordered)
    INTO keys, payloads, scopes, last_key USING after, page_size, selected;
END $$;

CREATE FUNCTION casq.things_of(
    kind text, asked text[], selected text[],
    OUT listed boolean, OUT keys text[], OUT payloads text[], OUT scopes text[],
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
    listed := FOUND OR selected IS NOT DISTINCT FROM '{}';
    IF NOT listed OR selected = '{}' THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t);
    EXECUTE format('SELECT array_agg(w.key), array_agg(found.payload), array_agg(found.scope) FROM unnest($1) AS w (key)'
        ' CROSS JOIN LATERAL (SELECT %s AS key) AS c'
        ' CROSS JOIN LATERAL (SELECT (%s)::text AS payload, %s AS scope, %s AS wanted FROM %s AS r WHERE %s LIMIT 1) AS found'
        ' WHERE found.wanted',
        k.typed, s.payload, s.scope, casq.scope_condition(t, selected, '$2'), s.root, k.present)
    INTO keys, payloads, scopes USING asked, selected;
END $$;

CREATE FUNCTION casq.things_missing(
    kind text, asked text[], selected text[],
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
    IF selected = '{}' THEN
        listed := true;
        keys := asked;
        RETURN;
    END IF;
    SELECT * INTO t FROM casq.tracked AS x WHERE x.kind = things_missing.kind;
    listed := FOUND;
    IF NOT listed THEN
        RETURN;
    END IF;
    s := casq.track_sql(t);
    k := casq.key_sql(t);
    EXECUTE format('SELECT array_agg(w.key) FROM unnest($1) AS w (key)'
        ' CROSS JOIN LATERAL (SELECT %s AS key) AS c'
        ' LEFT JOIN LATERAL (SELECT %s AS wanted FROM %s AS r WHERE %s LIMIT 1) AS found ON true'
        ' WHERE found.wanted IS NOT TRUE',
        k.typed, casq.scope_condition(t, selected, '$2'), s.root, k.present)
    INTO keys USING asked, selected;
END $$;

-- Whether a selection is why a thing is not here, or goes; '' when it is not. r
-- is its row, NULL when it has none. For casq.why.
CREATE FUNCTION casq.why_selection(kind text, r casq.registry) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT CASE
            WHEN s.scopes = '{}' THEN '; not selected on this site, which has nothing of the kind (enqueue select)'
            -- A row that is not there, or is older than scope_id, does not tell.
            WHEN r.scope_id IS NULL AND (r.deleted_at IS NOT NULL OR r.version IS NULL) THEN
                format('; if it is in another scope it is not selected on this site, which has only %s of the kind (enqueue select)', w.words)
            WHEN r.scope_id <> ALL (s.scopes) THEN
                format('; not selected on this site, which has only %s of the kind, and not %s (enqueue select)', w.words, quote_literal(r.scope_id))
            END
        FROM casq.selections AS s
        CROSS JOIN LATERAL (
            SELECT format('scope %s%s', string_agg(quote_literal(x.scope), ', '),
                CASE WHEN cardinality(s.scopes) > 10 THEN format(' and %s more', cardinality(s.scopes) - 10) END) AS words
            FROM unnest(s.scopes[:10]) AS x (scope)
        ) AS w
        WHERE s.kind = why_selection.kind AND s.scopes IS NOT NULL), '')
$$;

-- Answers, in words, what a thing waits for. Never NULL.
CREATE OR REPLACE FUNCTION casq.why(kind text, key text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r casq.registry;
    s casq.registry_status;
    p casq.processes;
    j record;
    waits boolean; -- a job is there, and waits to be fetched
    answer text;
BEGIN
    SELECT * INTO r FROM casq.registry AS t WHERE t.kind = why.kind AND t.resource_id = why.key;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = why.kind) THEN
            answer := format('%s is not a known kind here; known: %s', quote_nullable(why.kind),
                coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.kinds AS k), 'none'));
        ELSE
            answer := format('%s %s has no row: no event of it has been applied; the cursor stands at %s',
                why.kind, quote_nullable(why.key),
                coalesce((SELECT 'tick ' || c.tick FROM casq.cursors AS c WHERE c.name = 'registry'), 'nothing yet'));
        END IF;
        RETURN answer || casq.why_selection(why.kind, NULL) || casq.why_events(why.kind, why.key) || casq.why_reconcile(why.kind, NULL, NULL);
    END IF;
    SELECT * INTO s FROM casq.registry_status AS t WHERE t.kind = why.kind AND t.resource_id = why.key;

    answer := format('%s %s is %s: version %s was asked for %s ago by event %s of life %s (tick %s)',
        r.kind, quote_literal(r.resource_id), s.status, r.version,
        date_trunc('second', clock_timestamp() - r.queued_at), r.event_id, r.life, r.tick);
    IF s.status IN ('synced', 'removed') THEN
        RETURN answer || CASE s.status WHEN 'synced' THEN ' and is in place' ELSE ' and is gone' END
            || coalesce(' since ' || r.verified_at, '') || casq.why_selection(r.kind, r) || casq.why_events(r.kind, r.resource_id)
            || casq.why_reconcile(r.kind, r.life, r.tick);
    END IF;
    answer := answer || CASE WHEN r.synced_version IS NULL THEN '; nothing is in place'
                             ELSE format('; in place is version %s', r.synced_version) END;
    IF r.claim IS NOT NULL THEN
        SELECT * INTO p FROM casq.processes AS t WHERE t.id = r.claim_process;
        answer := answer || CASE
            WHEN p.id IS NULL OR p.dead_at IS NOT NULL THEN
                format('; process %s died with it and the sweep will hand it on', r.claim_process)
            ELSE format('; job %s has it in process %s on %s (attempt %s)', coalesce(r.claim_job::text, 'of an unknown number'),
                p.pid, p.host, r.attempts)
        END;
    END IF;

    SELECT t.id, t.state, t.queue, t.scheduled_at INTO j
    FROM river.river_job AS t
    WHERE t.args @> jsonb_build_object('kind', r.kind, 'resource_id', r.resource_id, 'version', r.version)
      AND t.kind IN ('casq_sync', 'casq_remove')
      AND t.state IN ('available', 'retryable', 'scheduled', 'pending', 'running')
      AND (r.claim IS NULL OR t.id IS DISTINCT FROM r.claim_job)
    ORDER BY t.id DESC LIMIT 1;
    waits := FOUND AND j.state <> 'running';

    IF r.failed_version = r.version THEN
        answer := answer || format('; %s ended with: %s',
            CASE WHEN r.claim IS NULL THEN format('attempt %s', r.attempts) ELSE 'an attempt before' END,
            coalesce(r.last_error, 'an error that is not known'))
            || coalesce('; the source does not have it, seen first at ' || s.missing_since, '');
        IF r.claim IS NULL THEN
            answer := answer || CASE
                WHEN r.retry_at > clock_timestamp() THEN '; next attempt at ' || r.retry_at
                WHEN r.retry_at IS NOT NULL THEN format('; the next attempt was due at %s', r.retry_at)
                WHEN j.id IS NOT NULL THEN '; it is tried again'
                ELSE '; it is not tried again by itself (enqueue resync --failed)' END;
        END IF;
    END IF;
    IF j.id IS NOT NULL THEN
        answer := answer || format('; job %s is %s in queue %s', j.id, j.state, j.queue);
        IF EXISTS (SELECT FROM river.river_queue AS q WHERE q.name = j.queue AND q.paused_at IS NOT NULL) THEN
            answer := answer || ', which is paused';
        END IF;
    ELSIF r.claim IS NULL AND (s.status <> 'failed' OR r.retry_at IS NOT NULL) THEN
        answer := answer || '; no job is there for it (a reconcile, or enqueue resync, asks again)';
    END IF;
    IF (waits OR r.claim IS NOT NULL) AND NOT EXISTS (SELECT FROM casq.processes AS t WHERE t.dead_at IS NULL) THEN
        answer := answer || '; no worker is running that could go on with it';
    END IF;
    RETURN answer || casq.why_selection(r.kind, r) || casq.why_events(r.kind, r.resource_id)
        || casq.why_reconcile(r.kind, r.life, r.tick);
END $$;

-- As before; and where a trigger of the user's has moved the row on to another
-- scope already, an event without deltas says so in the end: the newest event of
-- a thing names the scope in which it is.
CREATE OR REPLACE FUNCTION casq.log_statement(
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
            SELECT i.key, i.scope, i.size, i.items, sum(i.items) OVER (PARTITION BY i.key) AS net,
                   i.items = max(i.items) OVER (PARTITION BY i.key) AS last
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
        changes := format('SELECT i.key, i.scope, %1$s * %2$s AS size, %1$s AS items, %1$s AS net, true AS last FROM (%3$s FROM %4$s AS r) AS i',
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
            UNION ALL
            SELECT 3, p.scope, 0, 0, 'updated', p.payload
            WHERE c.last AND c.net >= 0 AND p.payload IS NOT NULL AND p.scope IS DISTINCT FROM c.scope
        ) AS e
        ORDER BY c.key, e.step, e.items$sql$,
        t.kind, s.resource_id, changes, s.payload, s.scope, s.root, s.present);
END $$;

DO $$
DECLARE
    t casq.tracked;
BEGIN
    FOR t IN SELECT * FROM casq.tracked LOOP
        BEGIN
            PERFORM casq.put_log_function(t);
        EXCEPTION WHEN undefined_column OR undefined_table THEN
            RAISE WARNING 'casq: %', SQLERRM;
        END;
    END LOOP;
END $$;

---- create above / drop below ----

CREATE OR REPLACE FUNCTION casq.log_statement(
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
DO $$
DECLARE
    t casq.tracked;
BEGIN
    FOR t IN SELECT * FROM casq.tracked LOOP
        BEGIN
            PERFORM casq.put_log_function(t);
        EXCEPTION WHEN undefined_column OR undefined_table THEN
            RAISE WARNING 'casq: %', SQLERRM;
        END;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION casq.why(kind text, key text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r casq.registry;
    s casq.registry_status;
    p casq.processes;
    j record;
    waits boolean; -- a job is there, and waits to be fetched
    answer text;
BEGIN
    SELECT * INTO r FROM casq.registry AS t WHERE t.kind = why.kind AND t.resource_id = why.key;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = why.kind) THEN
            answer := format('%s is not a known kind here; known: %s', quote_nullable(why.kind),
                coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.kinds AS k), 'none'));
        ELSE
            answer := format('%s %s has no row: no event of it has been applied; the cursor stands at %s',
                why.kind, quote_nullable(why.key),
                coalesce((SELECT 'tick ' || c.tick FROM casq.cursors AS c WHERE c.name = 'registry'), 'nothing yet'));
        END IF;
        RETURN answer || casq.why_events(why.kind, why.key) || casq.why_reconcile(why.kind, NULL, NULL);
    END IF;
    SELECT * INTO s FROM casq.registry_status AS t WHERE t.kind = why.kind AND t.resource_id = why.key;

    answer := format('%s %s is %s: version %s was asked for %s ago by event %s of life %s (tick %s)',
        r.kind, quote_literal(r.resource_id), s.status, r.version,
        date_trunc('second', clock_timestamp() - r.queued_at), r.event_id, r.life, r.tick);
    IF s.status IN ('synced', 'removed') THEN
        RETURN answer || CASE s.status WHEN 'synced' THEN ' and is in place' ELSE ' and is gone' END
            || coalesce(' since ' || r.verified_at, '') || casq.why_events(r.kind, r.resource_id)
            || casq.why_reconcile(r.kind, r.life, r.tick);
    END IF;
    answer := answer || CASE WHEN r.synced_version IS NULL THEN '; nothing is in place'
                             ELSE format('; in place is version %s', r.synced_version) END;
    IF r.claim IS NOT NULL THEN
        SELECT * INTO p FROM casq.processes AS t WHERE t.id = r.claim_process;
        answer := answer || CASE
            WHEN p.id IS NULL OR p.dead_at IS NOT NULL THEN
                format('; process %s died with it and the sweep will hand it on', r.claim_process)
            ELSE format('; job %s has it in process %s on %s (attempt %s)', coalesce(r.claim_job::text, 'of an unknown number'),
                p.pid, p.host, r.attempts)
        END;
    END IF;

    SELECT t.id, t.state, t.queue, t.scheduled_at INTO j
    FROM river.river_job AS t
    WHERE t.args @> jsonb_build_object('kind', r.kind, 'resource_id', r.resource_id, 'version', r.version)
      AND t.kind IN ('casq_sync', 'casq_remove')
      AND t.state IN ('available', 'retryable', 'scheduled', 'pending', 'running')
      AND (r.claim IS NULL OR t.id IS DISTINCT FROM r.claim_job)
    ORDER BY t.id DESC LIMIT 1;
    waits := FOUND AND j.state <> 'running';

    IF r.failed_version = r.version THEN
        answer := answer || format('; %s ended with: %s',
            CASE WHEN r.claim IS NULL THEN format('attempt %s', r.attempts) ELSE 'an attempt before' END,
            coalesce(r.last_error, 'an error that is not known'))
            || coalesce('; the source does not have it, seen first at ' || s.missing_since, '');
        IF r.claim IS NULL THEN
            answer := answer || CASE
                WHEN r.retry_at > clock_timestamp() THEN '; next attempt at ' || r.retry_at
                WHEN r.retry_at IS NOT NULL THEN format('; the next attempt was due at %s', r.retry_at)
                WHEN j.id IS NOT NULL THEN '; it is tried again'
                ELSE '; it is not tried again by itself (enqueue resync --failed)' END;
        END IF;
    END IF;
    IF j.id IS NOT NULL THEN
        answer := answer || format('; job %s is %s in queue %s', j.id, j.state, j.queue);
        IF EXISTS (SELECT FROM river.river_queue AS q WHERE q.name = j.queue AND q.paused_at IS NOT NULL) THEN
            answer := answer || ', which is paused';
        END IF;
    ELSIF r.claim IS NULL AND (s.status <> 'failed' OR r.retry_at IS NOT NULL) THEN
        answer := answer || '; no job is there for it (a reconcile, or enqueue resync, asks again)';
    END IF;
    IF (waits OR r.claim IS NOT NULL) AND NOT EXISTS (SELECT FROM casq.processes AS t WHERE t.dead_at IS NULL) THEN
        answer := answer || '; no worker is running that could go on with it';
    END IF;
    RETURN answer || casq.why_events(r.kind, r.resource_id) || casq.why_reconcile(r.kind, r.life, r.tick);
END $$;
DROP FUNCTION casq.why_selection(text, casq.registry);
DROP FUNCTION casq.things_missing(text, text[], text[]);
DROP FUNCTION casq.things_of(text, text[], text[]);
DROP FUNCTION casq.things(text, text, integer, text[]);
DROP FUNCTION casq.scope_condition(casq.tracked, text[], text);
DROP FUNCTION casq.check_scopes(text, text[]);
UPDATE casq.reconcile_runs SET reason = 'asked' WHERE reason = 'selected';
ALTER TABLE casq.reconcile_runs DROP CONSTRAINT reconcile_reason_is_known,
    ADD CONSTRAINT reconcile_reason_is_known CHECK (reason IN ('asked', 'scheduled', 'lost', 'pruned', 'failover'));
ALTER TABLE casq.registry DROP COLUMN scope_id;
DROP FUNCTION casq.selected(text, text);
DROP TABLE casq.selections;
