-- What runners send of builds: their logs.
--
-- Lock: none on existing objects. Deploy: at any time.

-- The log of one attempt at a build, without its bytes.
CREATE TABLE casq.build_traces (
    build_id bigint NOT NULL REFERENCES casq.builds ON DELETE CASCADE,
    attempt integer NOT NULL,
    -- How many bytes have come, and their CRC-32.
    received bigint NOT NULL DEFAULT 0,
    checksum bigint NOT NULL DEFAULT 0
        CONSTRAINT build_traces_checksum_is_crc32 CHECK (checksum BETWEEN 0 AND 4294967295),
    -- How many bytes casq.build_trace_chunks has. Of a log that is longer than it may be
    -- they end in a line that says so.
    stored bigint NOT NULL DEFAULT 0,
    cut boolean NOT NULL DEFAULT false,
    -- Whether the runner was asked to send all of it again, and does.
    resend text NOT NULL DEFAULT 'no'
        CONSTRAINT build_traces_resend_is_known CHECK (resend IN ('no', 'asked', 'begun')),
    compacted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (build_id, attempt),
    CONSTRAINT build_traces_sizes CHECK (0 <= received AND 0 <= stored AND (cut OR stored = received))
) WITH (fillfactor = 50);
CREATE INDEX build_traces_to_compact ON casq.build_traces (build_id, attempt) WHERE NOT compacted;

-- The bytes, as they came, each from where the one before it ends; after the attempt in
-- rows of some 1 MiB, which are compressed.
CREATE TABLE casq.build_trace_chunks (
    build_id bigint NOT NULL,
    attempt integer NOT NULL,
    start bigint NOT NULL,
    bytes bytea NOT NULL
        CONSTRAINT build_trace_chunks_are_not_empty CHECK (octet_length(bytes) > 0),
    PRIMARY KEY (build_id, attempt, start),
    FOREIGN KEY (build_id, attempt) REFERENCES casq.build_traces ON DELETE CASCADE
);

---- create above / drop below ----

-- Lock: all of it. Deploy: when no runner asks here. All logs are lost.
DROP TABLE casq.build_trace_chunks;
DROP TABLE casq.build_traces;
