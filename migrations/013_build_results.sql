-- What runners send of builds: their logs, and files to be kept.
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
    -- Whether the runner is asked to send all of it again, and how often it has begun to.
    asked boolean NOT NULL DEFAULT false,
    resent integer NOT NULL DEFAULT 0,
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

-- The files that builds leave, one of each type for an attempt. A row is written when its
-- bytes are safe. It is the only table of casq's own that is tracked, once there are such
-- files: other sites copy them, and they are counted for their projects.
CREATE TABLE casq.artifacts (
    key text COLLATE "C" PRIMARY KEY, -- where its bytes are
    build_id bigint NOT NULL REFERENCES casq.builds ON DELETE CASCADE,
    attempt integer NOT NULL,
    project_id bigint NOT NULL,
    type text NOT NULL
        CONSTRAINT artifacts_type_is_a_name CHECK (type ~ '^[a-z][a-z0-9_]{0,39}$'),
    format text NOT NULL
        CONSTRAINT artifacts_format_is_known CHECK (format IN ('zip', 'gzip', 'raw', 'zipzstd', 'tarzstd')),
    filename text NOT NULL
        CONSTRAINT artifacts_filename_is_no_path CHECK (octet_length(filename) BETWEEN 1 AND 255 AND filename !~ '[/\\[:cntrl:]]'),
    size bigint NOT NULL
        CONSTRAINT artifacts_size_is_positive CHECK (size >= 0),
    sha256 bytea NOT NULL
        CONSTRAINT artifacts_sha256_is_sha256 CHECK (octet_length(sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz, -- NULL: never
    UNIQUE (build_id, attempt, type)
);
CREATE INDEX artifacts_expire ON casq.artifacts (expires_at) WHERE expires_at IS NOT NULL;

COMMENT ON TABLE casq.artifacts IS
    'Files that builds have left. A row is there when its bytes are safe; to delete it has '
    'the bytes removed.';
COMMENT ON COLUMN casq.artifacts.key IS 'where the bytes are, below RUNNER_ARTIFACT_URL';
COMMENT ON COLUMN casq.artifacts.build_id IS 'build that has left it';
COMMENT ON COLUMN casq.artifacts.attempt IS 'attempt that has';
COMMENT ON COLUMN casq.artifacts.project_id IS 'project that it is counted for';
COMMENT ON COLUMN casq.artifacts.type IS 'archive, metadata, junit, and other names of reports';
COMMENT ON COLUMN casq.artifacts.format IS 'zip, gzip, raw, zipzstd, tarzstd';
COMMENT ON COLUMN casq.artifacts.filename IS 'name that the runner gave it';
COMMENT ON COLUMN casq.artifacts.size IS 'in bytes';
COMMENT ON COLUMN casq.artifacts.sha256 IS 'of the bytes';
COMMENT ON COLUMN casq.artifacts.created_at IS 'when it was safe';
COMMENT ON COLUMN casq.artifacts.expires_at IS 'when it is removed; NULL: never';

-- Bytes that may be there and have no row: of uploads that are under way, by attempt, and
-- of rows that were deleted. An upload writes this first, and deletes it in the transaction
-- that writes its row; whoever removes the bytes deletes it after that.
CREATE TABLE casq.artifact_leftovers (
    key text COLLATE "C" PRIMARY KEY,
    build_id bigint,
    attempt integer,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT artifact_leftovers_are_an_attempts CHECK ((build_id IS NULL) = (attempt IS NULL))
);

-- Whoever deletes a row, or the build that it is of, leaves its bytes.
CREATE FUNCTION casq.leave_artifact() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO casq.artifact_leftovers (key) VALUES (OLD.key);
    RETURN NULL;
END $$;

CREATE TRIGGER leave AFTER DELETE ON casq.artifacts
    FOR EACH ROW EXECUTE FUNCTION casq.leave_artifact();

-- Says that bytes come for an attempt at a build. From the first on the files are a kind
-- like others, for whoever follows the log, and for counters.
CREATE FUNCTION casq.begin_artifact(key text, build bigint, attempt integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM casq.tracked AS t WHERE t.relation = 'casq.artifacts'::regclass) THEN
        PERFORM casq.track('casq.artifacts', 'build_artifact', 'file', 'key',
            scope_column => 'project_id', size_column => 'size', payload_columns => '{sha256,size}');
    END IF;
    INSERT INTO casq.artifact_leftovers AS l (key, build_id, attempt)
    VALUES (begin_artifact.key, begin_artifact.build, begin_artifact.attempt);
END $$;

---- create above / drop below ----

-- Lock: all of it. Deploy: when no runner asks here. All logs are lost, and what is known of
-- builds' files; the files stay, as nobody's.
DO $$
BEGIN
    IF EXISTS (SELECT FROM casq.tracked AS t WHERE t.relation = 'casq.artifacts'::regclass) THEN
        PERFORM casq.untrack('casq.artifacts');
    END IF;
END $$;
DROP FUNCTION casq.begin_artifact(text, bigint, integer);
DROP TABLE casq.artifacts;
DROP FUNCTION casq.leave_artifact();
DROP TABLE casq.artifact_leftovers;
DROP TABLE casq.build_trace_chunks;
DROP TABLE casq.build_traces;
