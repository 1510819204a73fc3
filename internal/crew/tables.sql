CREATE SCHEMA crew;

-- What the consumer that records has been given. Nothing here keeps an event
-- from being recorded twice: that is what is looked for.
CREATE TABLE crew.recorded (
    n bigint GENERATED ALWAYS AS IDENTITY,
    event_id bigint NOT NULL,
    tick bigint NOT NULL,
    worker text NOT NULL,
    epoch bigint NOT NULL
);

CREATE INDEX ON crew.recorded (epoch);

-- The application's own table, whose changes are the events.
CREATE TABLE crew.things (name text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);

SELECT casq.track('crew.things', kind => 'crew_thing', transfer => 'none', key_column => 'name', payload_columns => ARRAY['n']);

INSERT INTO crew.things (name) SELECT 'thing ' || n FROM generate_series(1, 20) AS n;
