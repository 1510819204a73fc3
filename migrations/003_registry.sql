-- Cursors, processes and the registry.
--
-- Lock: none on existing objects. Deploy: at any time.

-- Where a consumer of the log stands. A batch moves the position in the
-- transaction that has its effects, and only from the position and under the
-- epoch that it began with: that is the fence. The lease is an optimisation.
CREATE TABLE casq.cursors (
    name text COLLATE "C" PRIMARY KEY,
    system_identifier bigint NOT NULL,
    life integer NOT NULL,
    life_id uuid NOT NULL,
    tick bigint NOT NULL,
    mark uuid NOT NULL,
    -- Inside a step that is read in pages; 0 and the nil uuid otherwise.
    to_tick bigint NOT NULL DEFAULT 0,
    to_mark uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    page bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    backend_pid integer,
    backend_start timestamptz,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT cursors_page_belongs_to_a_step CHECK (
        to_tick = 0 AND page = 0 AND to_mark = '00000000-0000-0000-0000-000000000000'
        OR to_tick > tick AND page > 0)
);

-- One row per worker process. A claim is live while its process's row is here
-- and not dead: one small update per process and beat instead of one per
-- claim. River knows the process by the same id. A process that finds its row
-- dead or gone cancels all of its work and goes on under a new id.
CREATE TABLE casq.processes (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat bigint NOT NULL DEFAULT 0,
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dead_at timestamptz
) WITH (fillfactor = 50);

CREATE SEQUENCE casq.registry_version;

-- One row per thing. What is wanted, what was achieved and who is at it are
-- separate columns, and the status is derived from them: see
-- casq.registry_status. There is no state to be stuck in.
CREATE TABLE casq.registry (
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,

    -- Intent. version is the token that jobs carry.
    version bigint NOT NULL DEFAULT nextval('casq.registry_version'),
    life integer NOT NULL,
    event_id bigint NOT NULL,
    tick bigint NOT NULL,
    deleted_at timestamptz,
    incarnation bigint NOT NULL DEFAULT 1,
    payload jsonb NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    -- Progress. synced_incarnation tells whether what is in place belongs to
    -- an earlier life of the key, also when its delete was collapsed away.
    synced_version bigint,
    synced_incarnation bigint,
    checksum text,
    size bigint,
    verified_at timestamptz,

    -- Attempt.
    claim uuid,
    claim_process uuid,
    claim_job bigint,
    -- The claim that was given back last. Its process may have died before it
    -- removed its staging.
    last_claim uuid,
    asked boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    failed_version bigint,
    last_error text,
    retry_at timestamptz,

    PRIMARY KEY (kind, resource_id),
    CONSTRAINT registry_claim_is_whole CHECK ((claim IS NULL) = (claim_process IS NULL)),
    CONSTRAINT registry_synced_not_beyond_version CHECK (synced_version <= version),
    CONSTRAINT registry_failed_not_beyond_version CHECK (failed_version <= version),
    CONSTRAINT registry_asked_needs_a_claim CHECK (claim IS NOT NULL OR NOT asked)
) WITH (fillfactor = 50);

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

-- Answers, in words, what a thing waits for. Never NULL.
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

---- create above / drop below ----

DROP FUNCTION casq.why(text, text);
DROP VIEW casq.registry_summary;
DROP VIEW casq.registry_status;
DROP TABLE casq.registry;
DROP SEQUENCE casq.registry_version;
DROP TABLE casq.processes;
DROP TABLE casq.cursors;
