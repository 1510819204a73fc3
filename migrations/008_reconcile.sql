-- Comparing the registry with the source, and keeping what came of it.
--
-- Lock: none on existing objects. Deploy: at any time.

-- One row per run: what was asked for, and its report. A run that is asked for
-- in the transaction which makes it necessary cannot be forgotten.
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
    started_at timestamptz,
    finished_at timestamptz
);

---- create above / drop below ----

DROP TABLE casq.reconcile_runs;
