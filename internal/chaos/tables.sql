-- The application's own tables, at the primary. A thing that is deleted and
-- created again has the id that it had.
CREATE TABLE projects (id bigint PRIMARY KEY);

CREATE TABLE artifacts (
    id bigint PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects ON DELETE CASCADE,
    path text NOT NULL UNIQUE,
    size bigint NOT NULL,
    sha256 text NOT NULL
);
CREATE INDEX ON artifacts (project_id);

-- refs is what the repository on disk has, by name.
CREATE TABLE repositories (
    id bigint PRIMARY KEY,
    path text NOT NULL UNIQUE,
    refs jsonb NOT NULL,
    told bigint NOT NULL DEFAULT 0 -- how often refs have gone back without a push
);

INSERT INTO projects VALUES (0);

SELECT casq.track('public.artifacts', kind => 'artifact', transfer => 'file', key_column => 'path',
                  scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['id', 'sha256']);

SELECT casq.track('public.repositories', kind => 'repository', transfer => 'git', key_column => 'path',
                  payload_columns => ARRAY['id', 'refs', 'told']);

-- When the counters of a kind ceased to be exact: a failover has lost the rows of
-- a shard, or of the log that it had read, so that counting starts over.
CREATE TABLE counted_anew (kind text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());

CREATE FUNCTION note_counted_anew() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.counted_anew (kind) VALUES (NEW.kind);
    RETURN NULL;
END $$;

CREATE TRIGGER counted_anew AFTER UPDATE ON casq.counter_kinds
FOR EACH ROW WHEN (OLD.generation <> NEW.generation) EXECUTE FUNCTION note_counted_anew();
