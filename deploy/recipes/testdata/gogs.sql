-- The tables of Gogs that the recipe names, with the columns that tell of files, and some more.
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
    updated_unix bigint
);
CREATE TABLE repository (
    id bigserial PRIMARY KEY,
    owner_id bigint,
    lower_name varchar(255) NOT NULL,
    name varchar(255) NOT NULL,
    description varchar(512),
    size bigint NOT NULL DEFAULT 0,
    use_custom_avatar boolean,
    num_stars integer,
    num_issues integer,
    enable_wiki boolean NOT NULL DEFAULT true,
    is_bare boolean,
    created_unix bigint,
    updated_unix bigint,
    UNIQUE (owner_id, lower_name)
);
CREATE TABLE issue (
    id bigserial PRIMARY KEY,
    repo_id bigint,
    index bigint,
    name varchar(255),
    content text,
    updated_unix bigint
);
CREATE TABLE release (
    id bigserial PRIMARY KEY,
    repo_id bigint,
    tag_name varchar(255),
    created_unix bigint
);
CREATE TABLE attachment (
    id bigserial PRIMARY KEY,
    uuid varchar(40) UNIQUE,
    issue_id bigint,
    comment_id bigint,
    release_id bigint,
    name varchar(255),
    created_unix bigint
);
CREATE INDEX "IDX_attachment_issue_id" ON attachment (issue_id);
CREATE INDEX "IDX_attachment_release_id" ON attachment (release_id);
CREATE TABLE lfs_object (
    repo_id bigint,
    oid text,
    size bigint NOT NULL,
    storage text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (repo_id, oid)
);
