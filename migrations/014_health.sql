-- How things stand: what the workers know, the lag, and what is wrong.
--
-- Lock: none on existing objects. Deploy: at any time.

-- One row per worker, also of one that works on no jobs: what it last said of itself,
-- each ten seconds. Times are home's; what a worker has measured by its own clock is told
-- as an age. One that stops takes its row along; that of one that was killed stays for a
-- day, with the time of its last sign of life.
CREATE TABLE casq.workers (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    schema_version integer NOT NULL, -- the newest migration that it knows
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- As /readyz has them, by name: ready, error, warning, and for how many seconds so.
    roles jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT workers_roles_is_an_object CHECK (jsonb_typeof(roles) = 'object'),
    waiting text, -- what it waits for before it has any role
    queues text[] COLLATE "C" NOT NULL DEFAULT '{}' -- that it serves
) WITH (fillfactor = 50);

---- create above / drop below ----

-- Lock: its own tables. Deploy: at any time.
DROP TABLE casq.workers;
