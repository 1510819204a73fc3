-- The tables of Gitea that the recipe names, with the columns that tell of files, and some more.
CREATE TABLE "user" (
    id bigserial PRIMARY KEY,
    lower_name varchar(255) NOT NULL UNIQUE,
    name varchar(255) NOT NULL UNIQUE,
    email varchar(255) NOT NULL DEFAULT '',
    type integer,
    avatar varchar(2048) NOT NULL DEFAULT '',
    use_custom_avatar boolean,
    num_repos integer,
    created_unix bigint,
    updated_unix bigint,
    last_login_unix bigint
);
CREATE TABLE repository (
    id bigserial PRIMARY KEY,
    owner_id bigint,
    owner_name varchar(255),
    lower_name varchar(255) NOT NULL,
    name varchar(255) NOT NULL,
    description text,
    num_stars integer,
    num_issues integer,
    is_private boolean,
    is_empty boolean,
    size bigint NOT NULL DEFAULT 0,
    git_size bigint NOT NULL DEFAULT 0,
    lfs_size bigint NOT NULL DEFAULT 0,
    avatar varchar(64),
    created_unix bigint,
    updated_unix bigint
);
CREATE UNIQUE INDEX "UQE_repository_s" ON repository (owner_id, lower_name);
CREATE TABLE attachment (
    id bigserial PRIMARY KEY,
    uuid uuid,
    repo_id bigint,
    issue_id bigint,
    release_id bigint,
    uploader_id bigint DEFAULT 0,
    comment_id bigint,
    name varchar(255),
    download_count bigint DEFAULT 0,
    size bigint DEFAULT 0,
    created_unix bigint
);
CREATE UNIQUE INDEX "UQE_attachment_uuid" ON attachment (uuid);
CREATE TABLE lfs_meta_object (
    id bigserial PRIMARY KEY,
    oid varchar(255) NOT NULL,
    size bigint NOT NULL,
    repository_id bigint NOT NULL,
    created_unix bigint,
    updated_unix bigint
);
CREATE UNIQUE INDEX "UQE_lfs_meta_object_s" ON lfs_meta_object (oid, repository_id);
CREATE TABLE package (
    id bigserial PRIMARY KEY,
    owner_id bigint NOT NULL,
    repo_id bigint,
    type varchar(255) NOT NULL,
    name varchar(255) NOT NULL,
    lower_name varchar(255) NOT NULL
);
CREATE TABLE package_version (
    id bigserial PRIMARY KEY,
    package_id bigint NOT NULL,
    version varchar(255) NOT NULL,
    download_count bigint NOT NULL DEFAULT 0
);
CREATE INDEX "IDX_package_version_package_id" ON package_version (package_id);
CREATE TABLE package_blob (
    id bigserial PRIMARY KEY,
    size bigint NOT NULL DEFAULT 0,
    hash_md5 char(32) NOT NULL,
    hash_sha256 char(64) NOT NULL UNIQUE,
    created_unix bigint NOT NULL
);
CREATE TABLE package_file (
    id bigserial PRIMARY KEY,
    version_id bigint NOT NULL,
    blob_id bigint NOT NULL,
    name varchar(255) NOT NULL,
    created_unix bigint NOT NULL
);
CREATE INDEX "IDX_package_file_version_id" ON package_file (version_id);
CREATE INDEX "IDX_package_file_blob_id" ON package_file (blob_id);
