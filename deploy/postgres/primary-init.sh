#!/bin/sh
# Runs once, when the image has made a new cluster: lets the standby in.
#
# The role can replicate and nothing else. The image's own pg_hba.conf lets
# replication in from 127.0.0.1 only.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --set password="$REPLICATION_PASSWORD" \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'password';
SQL

printf 'host replication replicator samenet scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
