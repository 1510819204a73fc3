-- A second site for Gogs on Postgres: repositories, wikis, attachments, LFS objects and avatars,
-- and their usage by repository and by owner. Written for 0.13 and 0.14, by the tables that its
-- documentation describes.
--
-- By the role that owns Gogs' tables, in Gogs' database, where that role has run `worker migrate
-- up`; it may be applied again:
--
--     psql "$DATABASE_URL" -v ON_ERROR_STOP=1 --single-transaction -f gogs.sql
--
-- Keys are paths below ROOT of [repository], and below the data folder (all else):
-- REPOSITORY_SOURCE_URL and ARTIFACT_SOURCE_URL of the second site.
--
-- What no row tells, and how that is covered:
-- - Refs are pushed before the row is changed, and updated_unix has seconds: two pushes in one
--   second look like one. probe compares the refs each minute.
-- - A repository is renamed after its row: until then there is nothing at the new path, which is
--   tried again, and the copy at the old one stays.
-- - A wiki has no row of its own, and most repositories have none: missing => 'absent'.
-- - An attachment has no size: it is counted as an item.
-- - A new avatar has the old one's name, and changes updated_unix.
-- - LFS objects of a repository that was deleted stay in place, as Gogs leaves them, too.
-- Not followed: hooks (written again by `gogs admin resync-hooks`), app.ini, and the database
-- itself, which has its own standby.

CREATE SCHEMA IF NOT EXISTS second_site;

-- All at once, before anything else: so the application need not wait for one while it has another.
SELECT casq.lock_sources('{"user",repository,issue,release,attachment,lfs_object}', 'SHARE ROW EXCLUSIVE');

-- Repositories, and their wikis beside them in one tree.

CREATE OR REPLACE VIEW second_site.repositories AS
SELECT r.id, u.lower_name || '/' || r.lower_name || '.git' AS path, r.size, r.updated_unix
FROM repository AS r JOIN "user" AS u ON u.id = r.owner_id;

SELECT casq.track_view('second_site.repositories', kind => 'repository', transfer => 'git',
    id_column => 'id', key_column => 'path', scope_column => 'id', size_column => 'size',
    payload_columns => '{updated_unix}', prefix => '', quiet => '2 s', probe => '1 min',
    sources => '{"repository": "SELECT id FROM changed",
                 "user": "SELECT r.id FROM changed AS u JOIN repository AS r ON r.owner_id = u.id"}');

CREATE OR REPLACE VIEW second_site.wikis AS
SELECT r.id, u.lower_name || '/' || r.lower_name || '.wiki.git' AS path
FROM repository AS r JOIN "user" AS u ON u.id = r.owner_id;

SELECT casq.track_view('second_site.wikis', kind => 'wiki', transfer => 'git',
    id_column => 'id', key_column => 'path', prefix => '', missing => 'absent', probe => '1 min',
    sources => '{"repository": "SELECT id FROM changed",
                 "user": "SELECT r.id FROM changed AS u JOIN repository AS r ON r.owner_id = u.id"}');

-- Attachments belong to the repository of their issue or release, once they have one.

CREATE OR REPLACE VIEW second_site.attachments AS
SELECT a.id, left(a.uuid, 1) || '/' || substr(a.uuid, 2, 1) || '/' || a.uuid AS path,
       coalesce(i.repo_id, r.repo_id) AS repo_id
FROM attachment AS a
LEFT JOIN issue AS i ON i.id = a.issue_id
LEFT JOIN release AS r ON r.id = a.release_id
WHERE a.uuid <> '';

SELECT casq.track_view('second_site.attachments', kind => 'attachment', transfer => 'file',
    id_column => 'id', key_column => 'path', scope_column => 'repo_id',
    prefix => 'attachments', source_prefix => 'attachments',
    sources => '{"attachment": "SELECT id FROM changed",
                 "issue": "SELECT a.id FROM changed AS i JOIN attachment AS a ON a.issue_id = i.id",
                 "release": "SELECT a.id FROM changed AS r JOIN attachment AS a ON a.release_id = r.id"}');

-- LFS objects: one file, however many repositories have it. Each of those is counted.

CREATE OR REPLACE VIEW second_site.lfs_objects AS
SELECT oid, left(oid, 1) || '/' || substr(oid, 2, 1) || '/' || oid AS path, max(size) AS size, oid AS sha256
FROM lfs_object GROUP BY oid;

SELECT casq.track_view('second_site.lfs_objects', kind => 'lfs_object', transfer => 'file',
    id_column => 'oid', key_column => 'path', size_column => 'size', payload_columns => '{sha256}',
    prefix => 'lfs-objects', source_prefix => 'lfs-objects',
    sources => '{"lfs_object": "SELECT oid FROM changed"}');

CREATE OR REPLACE VIEW second_site.lfs_uses AS
SELECT repo_id || '/' || oid AS id, repo_id, size FROM lfs_object;

SELECT casq.track_view('second_site.lfs_uses', kind => 'lfs_use', transfer => 'none',
    id_column => 'id', key_column => 'id', scope_column => 'repo_id', size_column => 'size',
    sources => '{"lfs_object": "SELECT repo_id || ''/'' || oid FROM changed"}');

-- Avatars are named by the user's or the repository's id.

CREATE OR REPLACE VIEW second_site.avatars AS
SELECT u.id, u.id::text AS path, u.updated_unix FROM "user" AS u WHERE u.use_custom_avatar;

SELECT casq.track_view('second_site.avatars', kind => 'avatar', transfer => 'file',
    id_column => 'id', key_column => 'path', payload_columns => '{updated_unix}',
    prefix => 'avatars', source_prefix => 'avatars', missing => 'absent', probe => '10 min',
    sources => '{"user": "SELECT id FROM changed"}');

CREATE OR REPLACE VIEW second_site.repository_avatars AS
SELECT r.id, r.id::text AS path, r.updated_unix FROM repository AS r WHERE r.use_custom_avatar;

SELECT casq.track_view('second_site.repository_avatars', kind => 'repository_avatar', transfer => 'file',
    id_column => 'id', key_column => 'path', payload_columns => '{updated_unix}',
    prefix => 'repo-avatars', source_prefix => 'repo-avatars', missing => 'absent', probe => '10 min',
    sources => '{"repository": "SELECT id FROM changed"}');

-- Usage by owner: SELECT * FROM casq.totals('repository').
SELECT casq.group_scopes(kind, parents => 'repository', scope_column => 'id', parent_column => 'owner_id')
FROM unnest('{repository,attachment,lfs_use}'::text[]) AS kind;
