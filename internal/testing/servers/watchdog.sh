# The watchdog of a folder of servers, run as the servers' user.
#
# It reads lines until its standard input ends, which is when the process that
# holds the other end of the pipe has ended, however it did:
#
#   drop DIR    servers and helpers work in DIR/* and DIR/*/data; remove DIR
#   keep DIR    a server works in DIR/data; leave its files
#   forget DIR  take back either
#
# Then it kills every process whose working directory is one of those folders.
# Postgres' children lead sessions of their own and may be stopped or busy, so
# neither a process group nor the death of the postmaster is enough; but all of
# them stay in the data folder.
#
# Descriptor 3, when it is open, is the folder's lock: nobody else takes the
# folder before this is done.
trap '' HUP INT TERM

while read -r verb dir; do
	case $verb in
	keep | drop)
		set -- "$@" "$verb $dir"
		;;
	forget)
		n=$#
		while [ "$n" -gt 0 ]; do
			[ "${1#* }" = "$dir" ] || set -- "$@" "$1"
			shift
			n=$((n - 1))
		done
		;;
	esac
done

# is_server spares somebody's shell in a folder that is not ours alone.
is_server() {
	read -r name 2>/dev/null <"$1/comm" || return 1
	case $name in
	postgres | redis-server) return 0 ;;
	*) return 1 ;;
	esac
}

# kill_in sends SIGKILL to all that works in a folder; true if there was any.
kill_in() {
	any=1
	for proc in /proc/[0-9]*; do
		[ "$proc/cwd" -ef "$1" ] || continue
		[ "$2" = drop ] || is_server "$proc" || continue
		if kill -KILL "${proc#/proc/}" 2>/dev/null; then any=0; fi
	done
	return $any
}

# end_in repeats that until nothing is found: a postmaster may have forked while
# the list was read.
end_in() {
	[ -d "$1" ] || return 0
	while kill_in "$1" "$2"; do sleep 0.01; done
}

# free_server removes what a killed postmaster leaves: a segment in the kernel,
# whose key and id are in line 7 of its pid file, and its lock files. Where process
# 1 reaps no orphans, the dead postmaster stays a zombie, and by those files the
# next one would take it for alive.
free_server() {
	if [ -f "$1/data/postmaster.pid" ]; then
		n=0
		while read -r _ id; do
			n=$((n + 1))
			if [ "$n" = 7 ]; then ipcrm -m "$id" 2>/dev/null; fi
		done <"$1/data/postmaster.pid"
	fi
	rm -f "$1/data/postmaster.pid" "$1"/.s.PGSQL.*
}

for line in "$@"; do
	dir=${line#* }
	case $line in
	keep*)
		end_in "$dir/data" keep
		free_server "$dir"
		;;
	drop*)
		for place in "$dir"/*; do
			end_in "$place" drop
			end_in "$place/data" drop
			free_server "$place"
		done
		rm -rf "$dir" 2>/dev/null
		;;
	esac
done
exit 0
