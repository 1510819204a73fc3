CREATE INDEX artifacts_scope ON artifacts (project_id);

SELECT casq.track('public.artifacts', kind => 'artifact', transfer => 'file', key_column => 'path',
                  scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['id', 'sha256']);

SELECT casq.track('public.repositories', kind => 'repository', transfer => 'git', prefix => '', key_column => 'path',
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
