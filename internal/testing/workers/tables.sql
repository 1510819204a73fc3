CREATE SCHEMA workers;

-- What the consumer that records has been given. Nothing here keeps an event
-- from being recorded twice: that is what is looked for.
CREATE TABLE workers.recorded (
    n bigint GENERATED ALWAYS AS IDENTITY,
    event_id bigint NOT NULL,
    tick bigint NOT NULL,
    worker text NOT NULL,
    epoch bigint NOT NULL
);

CREATE INDEX ON workers.recorded (epoch);

-- The application's own table, whose changes are the events.
CREATE TABLE workers.resources (name text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);

SELECT casq.track('workers.resources', kind => 'workers_resource', transfer => 'none', key_column => 'name', payload_columns => ARRAY['n']);

INSERT INTO workers.resources (name) SELECT 'resource ' || n FROM generate_series(1, 20) AS n;
