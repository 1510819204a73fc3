-- The application's own tables, at the primary, but for that of artifacts. A
-- resource that is deleted and created again has the id that it had.
CREATE TABLE projects (id bigint PRIMARY KEY);

-- refs is what the repository on disk has, by name. rank is of no meaning, and not
-- tracked, here and in artifacts.
CREATE TABLE repositories (
    id bigint PRIMARY KEY,
    path text NOT NULL UNIQUE,
    refs jsonb NOT NULL,
    told bigint NOT NULL DEFAULT 0, -- how often refs have gone back without a push
    rank integer NOT NULL DEFAULT 0
);

-- Versions that are read back from the standby; see reads.go.
CREATE TABLE versions (id bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 0);

INSERT INTO projects VALUES (0);
INSERT INTO versions VALUES (1), (2);
