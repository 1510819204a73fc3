# The watchdog of the servers of one process, run as the servers' user.
#
# It reads lines until its standard input ends, which is when the process that
# holds the other end of the pipe has ended, however it did:
#
#   keep DIR    the server in DIR works in DIR/data; leave its files
#   drop DIR    the servers in DIR/* work in DIR/*/data; remove DIR at the end
#   forget DIR  nothing below DIR is to be touched any more
#
# Then it kills every process whose working directory is one of those folders.
# Postgres' children lead sessions of their own and may be stopped or busy, so
# neither a process group nor the death of the postmaster is enough; but all of
# them stay in the data folder.
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

# kill_in sends SIGKILL to all that works in a folder; true if there was any.
kill_in() {
	any=1
	for proc in /proc/[0-9]*; do
		if [ "$proc/cwd" -ef "$1" ] && kill -KILL "${proc#/proc/}" 2>/dev/null; then
			any=0
		fi
	done
	return $any
}

# end_in repeats that until nothing is found: a postmaster may have forked while
# the list was read.
end_in() {
	[ -d "$1" ] || return 0
	while kill_in "$1"; do sleep 0.01; done
}

# A killed postmaster leaves a System V segment; line 7 of its pid file has key
# and id.
free_segment() {
	[ -f "$1" ] || return 0
	n=0
	while read -r _ id; do
		n=$((n + 1))
		if [ "$n" = 7 ]; then ipcrm -m "$id" 2>/dev/null; fi
	done <"$1"
}

for line in "$@"; do
	dir=${line#* }
	case $line in
	keep*)
		end_in "$dir/data"
		;;
	drop*)
		for data in "$dir"/*/data; do
			end_in "$data"
			free_segment "$data/postmaster.pid"
		done
		rm -rf "$dir"
		;;
	esac
done
