-- What the consumer that records has been given, at home. Nothing here keeps a
-- delivery from being recorded twice: that is what is looked for.
CREATE TABLE recorded (
    timeline integer NOT NULL,
    timeline_id uuid NOT NULL,
    tick bigint NOT NULL,
    nonce uuid NOT NULL, -- of the tick that delivered the event
    event_id bigint NOT NULL,
    kind text NOT NULL,
    resource_id text NOT NULL,
    op text NOT NULL,
    worker text NOT NULL,
    epoch bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- When it was told that the source has lost what it was given.
CREATE TABLE rewound (
    from_timeline integer NOT NULL,
    from_tick bigint NOT NULL,
    to_timeline integer NOT NULL,
    to_tick bigint NOT NULL,
    everything boolean NOT NULL,
    worker text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
