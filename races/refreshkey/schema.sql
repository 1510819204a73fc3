-- The tables of the published counters. A recount's states are in the order in
-- which waiting ones are taken up.
CREATE TABLE published_statistics (
    project bigint PRIMARY KEY,
    size bigint NOT NULL DEFAULT 0
);
CREATE TABLE published_refreshes (
    project bigint PRIMARY KEY,
    state text NOT NULL DEFAULT 'created' CHECK (state IN ('created', 'running', 'pending', 'finalizing')),
    last_id bigint NOT NULL DEFAULT 0, -- of the artifacts scanned
    up_to_id bigint,                   -- the highest when it began
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
