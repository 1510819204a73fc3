-- Moves of singles lead from one partition to another.
CREATE TABLE artifacts (
    id bigint NOT NULL,
    project_id bigint NOT NULL REFERENCES projects ON DELETE CASCADE,
    path text PRIMARY KEY,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    rank integer NOT NULL DEFAULT 0
) PARTITION BY RANGE (path);

CREATE TABLE artifacts_flips PARTITION OF artifacts FOR VALUES FROM (MINVALUE) TO ('groups');
CREATE TABLE artifacts_groups PARTITION OF artifacts FOR VALUES FROM ('groups') TO ('projects');
CREATE TABLE artifacts_projects PARTITION OF artifacts FOR VALUES FROM ('projects') TO ('singles');
CREATE TABLE artifacts_singles PARTITION OF artifacts FOR VALUES FROM ('singles') TO ('singles/2');
CREATE TABLE artifacts_more PARTITION OF artifacts FOR VALUES FROM ('singles/2') TO (MAXVALUE);
