-- Why a thing is not there yet: what the source does not have, and what was
-- handed on.
--
-- Lock: casq.registry, for a moment. Deploy: at any time.

-- Since when the source does not have the thing, as the attempts of
-- failed_version found; of no meaning under another version. It is tried again,
-- ever more rarely, for as long as it is wanted.
ALTER TABLE casq.registry ADD COLUMN missing_since timestamptz;

-- The newest job of a dead process that was handed on for this row. Of several
-- that sweep at once, the first queues another job.
ALTER TABLE casq.registry ADD COLUMN swept_job bigint;

-- What is missing at the source: WHERE missing_since IS NOT NULL.
CREATE OR REPLACE VIEW casq.registry_status AS
SELECT r.kind, r.resource_id,
       CASE
           WHEN r.synced_version = r.version THEN
               CASE WHEN r.deleted_at IS NULL THEN 'synced' ELSE 'removed' END
           WHEN r.deleted_at IS NULL AND p.id IS NOT NULL THEN 'started'
           WHEN p.id IS NULL AND r.failed_version = r.version THEN 'failed'
           WHEN r.deleted_at IS NULL THEN 'pending'
           ELSE 'removing'
       END AS status,
       r.version, r.synced_version, r.attempts, r.last_error, r.retry_at,
       p.id AS claim_process, r.deleted_at, r.queued_at,
       CASE WHEN r.failed_version = r.version AND r.synced_version IS DISTINCT FROM r.version
            THEN r.missing_since END AS missing_since
FROM casq.registry AS r
LEFT JOIN casq.processes AS p ON p.id = r.claim_process AND p.dead_at IS NULL;

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

-- What of the log could not be applied to a thing; '' when nothing. For casq.why.
CREATE FUNCTION casq.why_events(kind text, key text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT format('; event %s of life %s could not be applied: %s (enqueue replay looks at the source again)%s',
            f.event_id, f.life, f.reason, CASE WHEN f.more > 0 THEN format('; and %s more', f.more) END)
        FROM (
            SELECT e.life, e.event_id, e.reason, count(*) OVER () - 1 AS more
            FROM casq.event_failures AS e
            WHERE e.kind = why_events.kind AND e.resource_id = why_events.key AND e.replayed_at IS NULL
            ORDER BY e.life DESC, e.event_id DESC LIMIT 1
        ) AS f), '')
$$;

-- The comparison with the source that will look at a row of this tick, or at one
-- that is not there; '' when none is asked for. For casq.why.
CREATE FUNCTION casq.why_reconcile(kind text, life integer, tick bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((
        SELECT format('; reconcile %s, %s, will look at it', q.id,
            CASE WHEN q.started_at IS NULL THEN 'asked for at ' || q.requested_at ELSE 'begun at ' || q.started_at END)
        FROM casq.reconcile_runs AS q
        WHERE q.finished_at IS NULL AND NOT q.dry_run
          AND (q.kind IS NULL OR q.kind = why_reconcile.kind)
          AND (q.beyond_tick IS NULL OR why_reconcile.tick IS NULL
               OR (why_reconcile.life, why_reconcile.tick) > (q.beyond_life, q.beyond_tick))
        ORDER BY q.id LIMIT 1), '')
$$;

---- create above / drop below ----

DROP FUNCTION casq.why_reconcile(text, integer, bigint);
DROP FUNCTION casq.why_events(text, text);
DROP FUNCTION casq.why(text, text);
DROP VIEW casq.registry_summary;
DROP VIEW casq.registry_status;
ALTER TABLE casq.registry DROP COLUMN swept_job;
ALTER TABLE casq.registry DROP COLUMN missing_since;

-- As in 003.
CREATE VIEW casq.registry_status AS
SELECT r.kind, r.resource_id,
       CASE
           WHEN r.synced_version = r.version THEN
               CASE WHEN r.deleted_at IS NULL THEN 'synced' ELSE 'removed' END
           WHEN r.deleted_at IS NULL AND p.id IS NOT NULL THEN 'started'
           WHEN p.id IS NULL AND r.failed_version = r.version THEN 'failed'
           WHEN r.deleted_at IS NULL THEN 'pending'
           ELSE 'removing'
       END AS status,
       r.version, r.synced_version, r.attempts, r.last_error, r.retry_at,
       p.id AS claim_process, r.deleted_at, r.queued_at
FROM casq.registry AS r
LEFT JOIN casq.processes AS p ON p.id = r.claim_process AND p.dead_at IS NULL;

CREATE VIEW casq.registry_summary AS
SELECT kind, status, count(*) AS count, min(queued_at) AS oldest
FROM casq.registry_status
GROUP BY kind, status;

CREATE FUNCTION casq.why(kind text, key text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r casq.registry;
    s casq.registry_status;
    p casq.processes;
    j record;
    answer text;
BEGIN
    SELECT * INTO r FROM casq.registry AS t WHERE t.kind = why.kind AND t.resource_id = why.key;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM casq.kinds AS k WHERE k.kind = why.kind) THEN
            RETURN format('%s is not a known kind here; known: %s', quote_nullable(why.kind),
                coalesce((SELECT string_agg(k.kind, ', ' ORDER BY k.kind) FROM casq.kinds AS k), 'none'));
        END IF;
        RETURN format('%s %s has no row: no event of it has been read; the cursor stands at %s',
            why.kind, quote_nullable(why.key),
            coalesce((SELECT 'tick ' || c.tick FROM casq.cursors AS c WHERE c.name = 'registry'), 'nothing yet'));
    END IF;
    SELECT * INTO s FROM casq.registry_status AS t WHERE t.kind = why.kind AND t.resource_id = why.key;

    answer := format('%s %s is %s: version %s was asked for %s ago by event %s of life %s (tick %s)',
        r.kind, quote_literal(r.resource_id), s.status, r.version,
        date_trunc('second', clock_timestamp() - r.queued_at), r.event_id, r.life, r.tick);
    IF s.status IN ('synced', 'removed') THEN
        RETURN answer || CASE s.status WHEN 'synced' THEN ' and is in place' ELSE ' and is gone' END
            || coalesce(' since ' || r.verified_at, '');
    END IF;
    answer := answer || CASE WHEN r.synced_version IS NULL THEN '; nothing is in place'
                             ELSE format('; in place is version %s', r.synced_version) END;
    IF r.claim IS NOT NULL THEN
        SELECT * INTO p FROM casq.processes AS t WHERE t.id = r.claim_process;
        answer := answer || CASE
            WHEN p.id IS NULL OR p.dead_at IS NOT NULL THEN
                format('; process %s died with it and the sweep will hand it on', r.claim_process)
            ELSE format('; job %s has it in process %s on %s (attempt %s)', r.claim_job, p.pid, p.host, r.attempts)
        END;
    END IF;
    IF r.failed_version = r.version THEN
        answer := answer || format('; %s ended with: %s',
            CASE WHEN r.claim IS NULL THEN format('attempt %s', r.attempts) ELSE 'an attempt before' END,
            coalesce(r.last_error, 'an error that is not known'));
        IF r.claim IS NULL THEN
            answer := answer || coalesce('; next attempt at ' || r.retry_at,
                '; it is not tried again by itself (enqueue resync --failed)');
        END IF;
    END IF;
    SELECT t.id, t.state, t.queue, t.attempt, t.max_attempts, t.scheduled_at INTO j
    FROM river.river_job AS t
    WHERE t.args @> jsonb_build_object('kind', r.kind, 'resource_id', r.resource_id, 'version', r.version)
      AND t.state IN ('available', 'retryable', 'scheduled', 'pending', 'running')
    ORDER BY t.id DESC LIMIT 1;
    IF FOUND AND (r.claim IS NULL OR j.id <> r.claim_job) THEN
        answer := answer || format('; job %s is %s in queue %s', j.id, j.state, j.queue);
        IF EXISTS (SELECT FROM river.river_queue AS q WHERE q.name = j.queue AND q.paused_at IS NOT NULL) THEN
            answer := answer || ', which is paused';
        END IF;
    ELSIF NOT FOUND AND r.claim IS NULL AND s.status <> 'failed' THEN
        answer := answer || '; no job is there for it (enqueue resync asks again)';
    END IF;
    RETURN answer;
END $$;
