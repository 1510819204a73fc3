-- An application's own tables, the way they would be without casq, and the two
-- calls that make it follow them.
CREATE TABLE projects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE artifacts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects,
    path text NOT NULL UNIQUE,
    size bigint NOT NULL CHECK (size >= 0),
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$')
);

CREATE TABLE repositories (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path text NOT NULL UNIQUE,
    head text,
    pushed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

SELECT casq.track('public.artifacts', kind => 'artifact', transfer => 'file', key_column => 'path',
                  scope_column => 'project_id', size_column => 'size',
                  payload_columns => ARRAY['id', 'sha256']);

SELECT casq.track('public.repositories', kind => 'repository', transfer => 'git', prefix => '', key_column => 'path',
                  payload_columns => ARRAY['id', 'head', 'pushed_at']);
