-- A second site for Gitea on Postgres: repositories, wikis, attachments, LFS objects, packages
-- and avatars, and their usage by repository and by owner. Written for 1.26, by the tables as
-- they are in its database; Forgejo has the same ones.
--
-- By the role that owns Gitea's tables, in Gitea's database, where that role has run `worker
-- migrate up`; again after an upgrade of Gitea, where a worker or casq.health() says so:
--
--     psql "$DATABASE_URL" -v ON_ERROR_STOP=1 --single-transaction -f gitea.sql
--
-- Keys are paths below what Gitea calls ROOT (repositories) and APP_DATA_PATH (all else):
-- REPOSITORY_SOURCE_URL and ARTIFACT_SOURCE_URL of the second site. Who stores elsewhere (S3, a
-- folder for each) gives the kind's source_prefix, or leaves its part out.
--
-- What no row tells, and how that is covered:
-- - Refs are pushed before the row is changed, and updated_unix has seconds: two pushes in one
--   second look like one. probe compares the refs each minute.
-- - A wiki has no row of its own, and most repositories have none: missing => 'absent'.
-- - A file is written before its row in most places: what is not there yet is tried again.
-- - An avatar may be looked up elsewhere, and have no file: missing => 'absent'.
-- Not followed: logs and artifacts of Actions, archives (made again), hooks (written again by
-- `gitea admin regenerate hooks`), app.ini, and the database itself, which has its own standby.

CREATE SCHEMA IF NOT EXISTS second_site;

-- All at once, before anything else: so the application need not wait for one while it has another.
SELECT casq.lock_sources('{"user",repository,attachment,lfs_meta_object,package_blob,package_file,package_version,package}', 'SHARE ROW EXCLUSIVE');

-- Repositories, and their wikis beside them in one tree.

CREATE OR REPLACE VIEW second_site.repositories AS
SELECT r.id, u.lower_name || '/' || r.lower_name || '.git' AS path, r.git_size AS size, r.updated_unix
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

-- Attachments of issues, comments and releases.

CREATE OR REPLACE VIEW second_site.attachments AS
SELECT a.id, left(a.uuid::text, 1) || '/' || substr(a.uuid::text, 2, 1) || '/' || a.uuid AS path, a.repo_id, a.size
FROM attachment AS a;

SELECT casq.track_view('second_site.attachments', kind => 'attachment', transfer => 'file',
    id_column => 'id', key_column => 'path', scope_column => 'repo_id', size_column => 'size',
    prefix => 'attachments', source_prefix => 'attachments',
    sources => '{"attachment": "SELECT id FROM changed"}');

-- LFS objects: one file, however many repositories have it. Each of those is counted.

CREATE OR REPLACE VIEW second_site.lfs_objects AS
SELECT oid, left(oid, 2) || '/' || substr(oid, 3, 2) || '/' || substr(oid, 5) AS path, max(size) AS size, oid AS sha256
FROM lfs_meta_object GROUP BY oid;

SELECT casq.track_view('second_site.lfs_objects', kind => 'lfs_object', transfer => 'file',
    id_column => 'oid', key_column => 'path', size_column => 'size', payload_columns => '{sha256}',
    prefix => 'lfs', source_prefix => 'lfs',
    sources => '{"lfs_meta_object": "SELECT oid FROM changed"}');

SELECT casq.track('lfs_meta_object', kind => 'lfs_use', transfer => 'none',
    key_column => 'id', scope_column => 'repository_id', size_column => 'size');

-- Packages: one file for each content, counted for the owner of each package that has it.

CREATE OR REPLACE VIEW second_site.packages AS
SELECT b.id, left(b.hash_sha256, 2) || '/' || substr(b.hash_sha256, 3, 2) || '/' || b.hash_sha256 AS path,
       b.size, b.hash_sha256::text AS sha256
FROM package_blob AS b;

SELECT casq.track_view('second_site.packages', kind => 'package', transfer => 'file',
    id_column => 'id', key_column => 'path', size_column => 'size', payload_columns => '{sha256}',
    prefix => 'packages', source_prefix => 'packages',
    sources => '{"package_blob": "SELECT id FROM changed"}');

CREATE OR REPLACE VIEW second_site.package_uses AS
SELECT f.id, p.owner_id, b.size
FROM package_file AS f
JOIN package_blob AS b ON b.id = f.blob_id
JOIN package_version AS v ON v.id = f.version_id
JOIN package AS p ON p.id = v.package_id;

SELECT casq.track_view('second_site.package_uses', kind => 'package_use', transfer => 'none',
    id_column => 'id', key_column => 'id', scope_column => 'owner_id', size_column => 'size',
    sources => '{"package_file": "SELECT id FROM changed",
                 "package_version": "SELECT f.id FROM changed AS v JOIN package_file AS f ON f.version_id = v.id",
                 "package": "SELECT f.id FROM changed AS p JOIN package_version AS v ON v.package_id = p.id JOIN package_file AS f ON f.version_id = v.id",
                 "package_blob": "SELECT f.id FROM changed AS b JOIN package_file AS f ON f.blob_id = b.id"}');

-- Avatars: their names are made of what they show.

CREATE OR REPLACE VIEW second_site.avatars AS
SELECT avatar AS id, avatar AS path FROM "user" WHERE avatar <> '' GROUP BY avatar;

SELECT casq.track_view('second_site.avatars', kind => 'avatar', transfer => 'file',
    id_column => 'id', key_column => 'path', prefix => 'avatars', source_prefix => 'avatars', missing => 'absent',
    sources => '{"user": "SELECT avatar FROM changed"}');

CREATE OR REPLACE VIEW second_site.repository_avatars AS
SELECT avatar AS id, avatar AS path FROM repository WHERE avatar <> '' GROUP BY avatar;

SELECT casq.track_view('second_site.repository_avatars', kind => 'repository_avatar', transfer => 'file',
    id_column => 'id', key_column => 'path', prefix => 'repo-avatars', source_prefix => 'repo-avatars', missing => 'absent',
    sources => '{"repository": "SELECT avatar FROM changed"}');

-- Usage by owner: SELECT * FROM casq.totals('repository').
SELECT casq.group_scopes(kind, parents => 'repository', scope_column => 'id', parent_column => 'owner_id')
FROM unnest('{repository,attachment,lfs_use}'::text[]) AS kind;
