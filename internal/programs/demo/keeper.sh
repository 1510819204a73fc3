#!/bin/sh
# The servers of a demo that was kept: start, stop, or stop and remove all.
# Its place, the programs and the user of the servers are filled in below.
set -eu
dir={{dir}}
bin={{bin}}
user={{user}}

as_owner() {
	if [ "$(id -u)" = "$user" ]; then
		"$@"
	else
		setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$@"
	fi
}

running() { as_owner "$bin/pg_ctl" -D "$dir/servers/$1/data" status >/dev/null 2>&1; }

start() {
	running "$1" || as_owner "$bin/pg_ctl" -D "$dir/servers/$1/data" -l "$dir/servers/$1/kept.log" -s -w -t 60 start </dev/null
}

stop() {
	! running "$1" || as_owner "$bin/pg_ctl" -D "$dir/servers/$1/data" -s -w -t 60 -m fast stop
}

cd "$dir"
case ${1-} in
start)
	for server in primary standby second; do start "$server"; done
	;;
stop)
	for server in standby primary second; do stop "$server"; done
	;;
remove)
	for server in standby primary second; do stop "$server"; done
	cd /
	rm -rf "$dir"
	;;
*)
	echo "usage: $0 start|stop|remove" >&2
	exit 2
	;;
esac
