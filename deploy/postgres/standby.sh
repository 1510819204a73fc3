#!/bin/sh
# The standby's entry point: copies the primary on its first start, then starts
# Postgres as the image does.
#
# The copy is made beside its place and renamed when it is whole, so a start
# that was cut off begins anew instead of running on half a cluster.
set -eu

if [ ! -e "$PGDATA" ]; then
    rm -rf "$PGDATA.new"
    install --directory --owner=postgres --group=postgres --mode=0700 "$PGDATA.new"
    # --write-recovery-conf makes it a standby, and keeps how to connect.
    PGPASSWORD="$REPLICATION_PASSWORD" gosu postgres pg_basebackup \
        --pgdata="$PGDATA.new" --host="$PRIMARY_HOST" --username=replicator \
        --wal-method=stream --checkpoint=fast --write-recovery-conf
    mv "$PGDATA.new" "$PGDATA"
fi

exec docker-entrypoint.sh "$@"
