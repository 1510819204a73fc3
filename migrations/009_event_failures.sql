-- Events that could not be applied.
--
-- Lock: none on existing objects. Deploy: at any time.

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
    code text NOT NULL DEFAULT '', -- the SQLSTATE; empty: the data could not be decoded
    tries integer NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_at timestamptz,
    PRIMARY KEY (cursor, life, event_id)
);
CREATE INDEX event_failures_thing ON casq.event_failures (kind, resource_id);

---- create above / drop below ----

DROP TABLE casq.event_failures;
