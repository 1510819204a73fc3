CREATE TABLE artifacts (
    id bigint PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects ON DELETE CASCADE,
    path text NOT NULL UNIQUE,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    rank integer NOT NULL DEFAULT 0
);
