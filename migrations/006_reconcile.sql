-- Comparing the registry with the source and with what is in place, and keeping
-- what came of it; and what a resource waits for, in words.
--
-- Lock: casq.timelines, for a moment. Deploy: at any time.

-- One row per run: what was asked for, how far it is, and when it ended. A run
-- that is asked for in the transaction which makes it necessary cannot be
-- forgotten.
CREATE TABLE casq.reconcile_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text COLLATE "C", -- NULL: all
    -- failover: see casq.on_timeline; selected: a changed selection is applied.
    reason text NOT NULL
        CONSTRAINT reconcile_reason_is_known CHECK (reason IN ('asked', 'scheduled', 'lost', 'pruned', 'failover', 'selected')),
    -- The run of all kinds from which this one was split off, as its kind could not be
    -- compared; NULL: none.
    part_of bigint,
    dry_run boolean NOT NULL DEFAULT false,
    -- Also what is in place is compared with the registry.
    walk boolean NOT NULL DEFAULT false,
    -- What is in place of no row is removed; otherwise it is only counted and named.
    remove_orphans boolean NOT NULL DEFAULT false,
    -- Home may have lost what was done since then: what was put in place since is
    -- compared by content. NULL: nothing was lost.
    lost_since timestamptz,
    -- Up to so many rows of a kind may be removed, whatever their share is.
    allow_remove bigint NOT NULL DEFAULT 0,
    -- Only rows whose intent came with a tick beyond this one; NULL: all.
    beyond_timeline integer,
    beyond_tick bigint,
    -- The source is read only on a host that shows this tick; NULL: any.
    at_timeline integer,
    at_tick bigint,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    not_before timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    -- The process that carries it out; another may take over once that one is dead.
    process uuid,
    waiting text, -- why it stands still
    -- How far it is: moved in the transaction that has the page's effects.
    phase text NOT NULL DEFAULT 'resources'
        CONSTRAINT reconcile_phase_is_known CHECK (phase IN ('resources', 'rows', 'staging', 'walk')),
    at_kind text COLLATE "C",
    after_key text COLLATE "C",
    CONSTRAINT reconcile_progress_has_a_kind CHECK (after_key IS NULL OR at_kind IS NOT NULL)
);
CREATE INDEX reconcile_runs_open ON casq.reconcile_runs (id) WHERE finished_at IS NULL;

-- What a run has found, and done unless it is a dry one, by kind; staging
-- belongs to no kind: ''.
CREATE TABLE casq.reconcile_counts (
    run bigint NOT NULL REFERENCES casq.reconcile_runs ON DELETE CASCADE,
    kind text COLLATE "C" NOT NULL,
    -- The source has no table to list this kind from.
    unlisted boolean NOT NULL DEFAULT false,
    examined bigint NOT NULL DEFAULT 0, -- resources and rows, together
    created bigint NOT NULL DEFAULT 0,
    adopted bigint NOT NULL DEFAULT 0, -- created, and something is in place
    changed bigint NOT NULL DEFAULT 0,
    removed bigint NOT NULL DEFAULT 0,
    requeued bigint NOT NULL DEFAULT 0,
    checks bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0, -- left to the log, which knows better
    staging_removed bigint NOT NULL DEFAULT 0,
    held_back bigint NOT NULL DEFAULT 0, -- not removed: too many
    orphans bigint NOT NULL DEFAULT 0, -- in place, and of no row
    orphans_removed bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run, kind)
) WITH (fillfactor = 50);

-- The first resources that a walk found in place and of no row, by kind.
CREATE TABLE casq.reconcile_orphans (
    run bigint NOT NULL REFERENCES casq.reconcile_runs ON DELETE CASCADE,
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (run, kind, resource_id)
);

CREATE VIEW casq.reconcile_report AS
SELECT r.id AS run, r.reason, r.dry_run,
       CASE WHEN r.finished_at IS NOT NULL THEN 'finished'
            WHEN EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.process AND p.dead_at IS NULL) THEN 'running'
            WHEN r.waiting IS NOT NULL THEN 'waiting'
            ELSE 'asked' END AS state,
       r.phase, r.at_kind, r.waiting, r.requested_at, r.started_at, r.finished_at,
       c.kind, c.unlisted, c.examined, c.created, c.adopted, c.changed, c.removed, c.requeued, c.checks, c.late, c.staging_removed,
       c.held_back, c.orphans, c.orphans_removed
FROM casq.reconcile_runs AS r
LEFT JOIN casq.reconcile_counts AS c ON c.run = r.id;

COMMENT ON VIEW casq.reconcile_report IS
    'What came of comparing the registry with the source, and with what is in place: a row '
    'for each run and kind.';
COMMENT ON COLUMN casq.reconcile_report.run IS 'number of the run';
COMMENT ON COLUMN casq.reconcile_report.reason IS 'asked, scheduled, lost or pruned (the log had gone before it was read), failover, selected';
COMMENT ON COLUMN casq.reconcile_report.dry_run IS 'whether it only reports';
COMMENT ON COLUMN casq.reconcile_report.state IS 'asked, waiting, running, finished';
COMMENT ON COLUMN casq.reconcile_report.phase IS 'resources (of the source), rows (of the registry), staging, walk (of what is in place)';
COMMENT ON COLUMN casq.reconcile_report.at_kind IS 'the kind that it is at';
COMMENT ON COLUMN casq.reconcile_report.waiting IS 'why it stands still; NULL: it does not';
COMMENT ON COLUMN casq.reconcile_report.requested_at IS 'when it was asked for';
COMMENT ON COLUMN casq.reconcile_report.started_at IS 'when it began';
COMMENT ON COLUMN casq.reconcile_report.finished_at IS 'when it ended';
COMMENT ON COLUMN casq.reconcile_report.kind IS ''''' for what belongs to no kind, such as staging; NULL before it has begun';
COMMENT ON COLUMN casq.reconcile_report.unlisted IS 'whether the source has no table to list this kind from';
COMMENT ON COLUMN casq.reconcile_report.examined IS 'resources of the source and rows of the registry that were compared';
COMMENT ON COLUMN casq.reconcile_report.created IS 'resources that the registry did not have';
COMMENT ON COLUMN casq.reconcile_report.adopted IS 'of these, those of which something was in place already';
COMMENT ON COLUMN casq.reconcile_report.changed IS 'resources whose payload differed';
COMMENT ON COLUMN casq.reconcile_report.removed IS 'resources that the source did not have any more';
COMMENT ON COLUMN casq.reconcile_report.requeued IS 'resources that had nothing to bring them on, and got a job';
COMMENT ON COLUMN casq.reconcile_report.checks IS 'resources that are to be compared by content';
COMMENT ON COLUMN casq.reconcile_report.late IS 'differences that the log has on its way';
COMMENT ON COLUMN casq.reconcile_report.staging_removed IS 'leftovers of copies that were killed';
COMMENT ON COLUMN casq.reconcile_report.held_back IS 'not removed, since there were too many: see enqueue reconcile --remove';
COMMENT ON COLUMN casq.reconcile_report.orphans IS 'in place, and of no resource';
COMMENT ON COLUMN casq.reconcile_report.orphans_removed IS 'of these, those that were removed';

-- How far each kind is that is probed on this site (casq.kinds.probe), by workers that have a
-- target for it: package registry/probing.
CREATE TABLE casq.probes (
    kind text COLLATE "C" PRIMARY KEY REFERENCES casq.kinds ON DELETE CASCADE,
    position text COLLATE "C" NOT NULL DEFAULT '', -- the key beyond which the next page begins
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- when that is due
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- this round through all keys
    round interval, -- how long the last one took
    last_error text,
    failing_since timestamptz
) WITH (fillfactor = 50);

COMMENT ON TABLE casq.probes IS
    'How far the comparison of each kind with its source is, of kinds that are probed: see '
    'casq.kinds.probe.';
COMMENT ON COLUMN casq.probes.kind IS 'its kind';
COMMENT ON COLUMN casq.probes.position IS 'the key beyond which the next page begins';
COMMENT ON COLUMN casq.probes.due_at IS 'when the next page is due';
COMMENT ON COLUMN casq.probes.began_at IS 'when the round through all keys began that is under way';
COMMENT ON COLUMN casq.probes.round IS 'how long the round before took; NULL: there was none';
COMMENT ON COLUMN casq.probes.last_error IS 'why resources of the last page could not be compared; NULL: all could';
COMMENT ON COLUMN casq.probes.failing_since IS 'since when each page had such';

-- What is wrong with probing, as casq.health tells it.
CREATE FUNCTION casq.late_probes() RETURNS TABLE (severity text, what text, since timestamptz, command text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'warning', CASE WHEN p.failing_since IS NULL THEN format('kind %s is not compared with its source every %s', p.kind, k.probe)
                           ELSE format('kind %s cannot be compared with its source: %s', p.kind, p.last_error) END,
           coalesce(p.failing_since, p.began_at), format('SELECT * FROM casq.probes WHERE kind = %L', p.kind)
    FROM casq.probes AS p JOIN casq.kinds AS k ON k.kind = p.kind AND k.probe > '0'
    WHERE p.failing_since < clock_timestamp() - interval '5 minutes' OR p.began_at < clock_timestamp() - 2 * k.probe - interval '1 minute'
$$;

-- Asks for a walk in the transaction that begins another timeline of the log which
-- home's registry follows, when that log is home's own: rows were then lost
-- together with the events. What the registry did for them to the target was not.
CREATE FUNCTION casq.on_timeline() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM casq.cursors AS c JOIN casq.timelines AS l ON l.timeline = c.timeline AND l.id = c.timeline_id
               WHERE c.name = 'registry' AND l.timeline < NEW.timeline)
    THEN
        INSERT INTO casq.reconcile_runs (reason, walk, lost_since, at_timeline, at_tick)
        -- A tick that is there was committed before all that was lost.
        SELECT 'failover', true, coalesce((SELECT t.taken_at FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1), to_timestamp(0)),
               NEW.timeline, NEW.began_tick;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER on_timeline AFTER INSERT ON casq.timelines FOR EACH ROW EXECUTE FUNCTION casq.on_timeline();

-- Whether a selection is why a resource is not here, or goes; '' when it is not. r
-- is its row, NULL when it has none. For casq.why.
CREATE FUNCTION casq.why_selection(kind text, r casq.registry) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT CASE
            WHEN s.scopes = '{}' THEN '; not selected on this site, which has nothing of the kind (enqueue select)'
            -- Without a row, or with one that is older than scope_id, it is not known.
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

-- Which event of a resource could not be applied; '' when all were. For casq.why.
CREATE FUNCTION casq.why_events(kind text, key text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT format('; event %s of timeline %s could not be applied: %s (enqueue replay re-fetches the resource)%s',
            f.event_id, f.timeline, f.reason, CASE WHEN f.more > 0 THEN format('; and %s more', f.more) END)
        FROM (
            SELECT e.timeline, e.event_id, e.reason, count(*) OVER () - 1 AS more
            FROM casq.event_failures AS e
            WHERE e.kind = why_events.kind AND e.resource_id = why_events.key AND e.replayed_at IS NULL
            ORDER BY e.timeline DESC, e.event_id DESC LIMIT 1
        ) AS f), '')
$$;

-- The run that will compare a row of this tick with the source, or a resource without a
-- row; '' when no run is asked for. For casq.why.
CREATE FUNCTION casq.why_reconcile(kind text, timeline integer, tick bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT format('; reconcile %s, %s, will compare it', q.id,
            CASE WHEN q.started_at IS NULL THEN 'asked for at ' || q.requested_at ELSE 'begun at ' || q.started_at END)
        FROM casq.reconcile_runs AS q
        WHERE q.finished_at IS NULL AND NOT q.dry_run
          AND (q.kind IS NULL OR q.kind = why_reconcile.kind)
          AND (q.beyond_tick IS NULL OR why_reconcile.tick IS NULL
               OR (why_reconcile.timeline, why_reconcile.tick) > (q.beyond_timeline, q.beyond_tick))
        ORDER BY q.id LIMIT 1), '')
$$;

-- How many jobs that wait in a queue will be fetched before a job that has this
-- place in it, and what they are for; each word is a registry.Urgency. At most 1000
-- are counted: there may be millions. For casq.why.
--
-- By River's index for fetching, in its order, so that it stops after as many: a
-- bitmap, or a sort, would first read all.
CREATE FUNCTION casq.why_in_front(queue text, priority smallint, scheduled_at timestamptz, id bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
    SELECT CASE coalesce(sum(f.n), 0)
        WHEN 0 THEN '; nothing is in front of it'
        ELSE format('; %s in front of it (%s)',
            CASE sum(f.n) WHEN 1000 THEN 'at least 1000 jobs are' WHEN 1 THEN '1 job is' ELSE sum(f.n) || ' jobs are' END,
            string_agg(format('%s for %s', f.n, CASE f.priority
                WHEN 1 THEN 'events and single requests' WHEN 2 THEN 'comparisons'
                WHEN 3 THEN 'resyncs of many and backfills' ELSE 'verifications' END), ', ' ORDER BY f.priority))
        END
    FROM (
        SELECT front.priority, count(*) AS n
        FROM (
            SELECT j.priority FROM river.river_job AS j
            WHERE j.state = 'available' AND j.queue = why_in_front.queue
              AND (j.priority, j.scheduled_at, j.id) < (why_in_front.priority, why_in_front.scheduled_at, why_in_front.id)
            ORDER BY j.priority, j.scheduled_at, j.id LIMIT 1000
        ) AS front
        GROUP BY front.priority
    ) AS f
$$;

-- Answers, in words, what a resource waits for. Never NULL.
-- The sentence is the same in every session, but for the time zone.
CREATE FUNCTION casq.why(kind text, key text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET datestyle = 'ISO' SET intervalstyle = 'postgres' AS $$
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

    answer := format('%s %s is %s: version %s was asked for %s ago %s event %s of timeline %s (tick %s)',
        r.kind, quote_literal(r.resource_id), s.status, r.version, date_trunc('second', clock_timestamp() - r.queued_at),
        CASE WHEN r.probed_version = r.version THEN 'since it had changed without an event, after' ELSE 'by' END, r.event_id, r.timeline, r.tick);
    IF s.status IN ('synced', 'removed') THEN
        RETURN answer || CASE s.status WHEN 'synced' THEN ' and is in place' ELSE ' and is gone' END
            || coalesce(' since ' || r.verified_at, '') || coalesce('; the source was compared at ' || r.compared_at, '') || casq.why_selection(r.kind, r) || casq.why_events(r.kind, r.resource_id)
            || casq.why_reconcile(r.kind, r.timeline, r.tick);
    END IF;
    answer := answer || CASE WHEN r.synced_version IS NULL THEN '; nothing is in place'
                             ELSE format('; in place is version %s', r.synced_version) END
        || coalesce((SELECT format('; it comes from %s, whose copy is used', quote_literal(m.base_id)) FROM casq.moves AS m
            WHERE m.kind = r.kind AND m.resource_id = r.resource_id AND m.incarnation = r.incarnation LIMIT 1), '');
    IF r.claim IS NOT NULL THEN
        SELECT * INTO p FROM casq.processes AS t WHERE t.id = r.claim_process;
        answer := answer || CASE
            WHEN p.id IS NULL OR p.dead_at IS NOT NULL THEN
                format('; process %s died while it worked on it, the sweep will hand it on', r.claim_process)
            ELSE format('; job %s works on it in process %s on %s (attempt %s)', coalesce(r.claim_job::text, 'of an unknown number'),
                p.pid, p.host, r.attempts)
        END;
    END IF;

    -- By the index of jobs that have not ended, before anything else is asked: planned
    -- as one, the newest job may be searched for from the newest one on, through all
    -- that wait.
    WITH its AS MATERIALIZED (
        SELECT * FROM river.river_job AS t
        WHERE t.finalized_at IS NULL
          AND (t.args ->> 'resource_id') COLLATE "C" = r.resource_id AND t.args ->> 'kind' = r.kind
    )
    SELECT t.id, t.state, t.queue, t.priority, t.scheduled_at, t.metadata ? 'quiet_since' AS quiet INTO j
    FROM its AS t
    WHERE (t.args ->> 'version')::bigint = r.version
      AND t.kind IN ('casq_sync', 'casq_remove')
      AND t.state IN ('available', 'retryable', 'scheduled', 'pending', 'running')
      AND (r.claim IS NULL OR t.id IS DISTINCT FROM r.claim_job)
    ORDER BY t.id DESC LIMIT 1;
    waits := FOUND AND j.state <> 'running';

    IF s.status = 'absent' THEN
        answer := answer || coalesce('; the source does not have it, as was seen first at ' || s.missing_since, '; the source did not have it')
            || ', which is no failure of its kind'
            || coalesce('; it is looked at again at ' || r.retry_at || ', and with its next event', '');
    ELSIF r.failed_version = r.version THEN
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
        IF j.state IN ('available', 'scheduled') AND j.quiet AND j.scheduled_at > clock_timestamp() THEN
            answer := answer || format('; it begins at %s unless more changes come before', j.scheduled_at);
        ELSIF j.state = 'available' THEN
            answer := answer || casq.why_in_front(j.queue, j.priority, j.scheduled_at, j.id);
        END IF;
    ELSIF casq.kept_for(r) IS NOT NULL THEN
        answer := answer || format('; it stays until its resource is in place under its new key, %s, which is %s',
            quote_literal(casq.kept_for(r)), coalesce((SELECT t.status FROM casq.registry_status AS t
                WHERE t.kind = r.kind AND t.resource_id = casq.kept_for(r)), 'still to come with the log'));
    ELSIF r.claim IS NULL AND (s.status <> 'failed' OR r.retry_at IS NOT NULL) THEN
        answer := answer || '; it has no job (a reconcile, or enqueue resync, queues one)';
    END IF;
    IF (waits OR r.claim IS NOT NULL) AND NOT EXISTS (SELECT FROM casq.processes AS t WHERE t.dead_at IS NULL) THEN
        answer := answer || '; no worker is running that could go on with it';
    END IF;
    RETURN answer || casq.why_selection(r.kind, r) || casq.why_events(r.kind, r.resource_id)
        || casq.why_reconcile(r.kind, r.timeline, r.tick);
END $$;
COMMENT ON FUNCTION casq.why IS
    'Tells in words what a resource waits for, or that it is in place and since when. Never '
    'NULL, also for what is not known.';

---- create above / drop below ----

-- Lock: casq.timelines, for a moment. Deploy: with no worker running. What runs have
-- found is lost.
DROP FUNCTION casq.why(text, text);
DROP FUNCTION casq.why_in_front(text, smallint, timestamptz, bigint);
DROP FUNCTION casq.why_reconcile(text, integer, bigint);
DROP FUNCTION casq.why_events(text, text);
DROP FUNCTION casq.why_selection(text, casq.registry);
DROP TRIGGER on_timeline ON casq.timelines;
DROP FUNCTION casq.on_timeline();
DROP VIEW casq.reconcile_report;
DROP FUNCTION casq.late_probes();
DROP TABLE casq.probes;
DROP TABLE casq.reconcile_orphans;
DROP TABLE casq.reconcile_counts;
DROP TABLE casq.reconcile_runs;
