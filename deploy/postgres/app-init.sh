#!/bin/sh
# Runs once, when the image has made a new cluster: makes the role that the
# workers and the application have. It owns the database, and is an ordinary one.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --set role="$APP_USER" --set password="$APP_PASSWORD" --set database="$POSTGRES_DB" \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
ALTER DATABASE :"database" OWNER TO :"role";
SQL
