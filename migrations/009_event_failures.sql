-- Events that could not be applied.
--
-- Lock: casq.events, for a moment. Deploy: at any time.

-- A time that no program can read would stop every reader of the log, and none
-- of them could put the event aside.
ALTER TABLE casq.events ADD CONSTRAINT events_occurred_at_is_finite CHECK (isfinite(occurred_at)) NOT VALID;

-- An event whose data a consumer refuses for good is put aside here, in the
-- transaction that moves the cursor past it. One row per consumer and event;
-- replaying it is a look at the source as it is then.
CREATE TABLE casq.event_failures (
    cursor text COLLATE "C" NOT NULL,
    life integer NOT NULL,
    event_id bigint NOT NULL,
    tick bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    scope_id text COLLATE "C",
    op text NOT NULL,
    payload jsonb,
    occurred_at timestamptz NOT NULL,
    reason text NOT NULL,
    code text NOT NULL DEFAULT '',
    tries integer NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_at timestamptz,
    PRIMARY KEY (cursor, life, event_id)
);
-- The open ones: for casq.why, and for replaying them page by page.
CREATE INDEX event_failures_open ON casq.event_failures (kind, resource_id) WHERE replayed_at IS NULL;

COMMENT ON TABLE casq.event_failures IS
    'Events that could not be applied and were put aside. Open while replayed_at is null: enqueue replay looks at the things in the source again.';
COMMENT ON COLUMN casq.event_failures.cursor IS 'whose consumer has refused it; what is bad for one is not for another';
COMMENT ON COLUMN casq.event_failures.code IS 'the SQLSTATE; empty: the data could not be decoded, or its kind is not defined';
COMMENT ON COLUMN casq.event_failures.tries IS 'how often it was tried, alone and with others';
COMMENT ON COLUMN casq.event_failures.replayed_at IS 'when somebody has asked for the thing to be looked at again';

---- create above / drop below ----

DROP TABLE casq.event_failures;

ALTER TABLE casq.events DROP CONSTRAINT events_occurred_at_is_finite;
