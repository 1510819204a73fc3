#!/bin/sh
# Prints the folder that tests are to have for temporary files: $TMPDIR where that
# is set, else one in memory where this machine has room for it, else /tmp.
#
# A test's database is 900 files, and a server as many. Where ext4 has no journal,
# as on disposable machines, it passes by all files that were removed within the
# last minutes to find a place for a new one: making and dropping a database took
# 0.4 s of CPU there, and in memory 0.015 s.
set -eu

memory=/dev/shm
room=$((4 << 20)) # KiB; all tests at once had 1 GiB

# roomy is true for a folder in memory that has room for files which programs are
# among, and leaves as much to the programs. Containers often have one of 64 MiB.
roomy() {
	[ "$(stat -f -c %T "$1" 2>/dev/null)" = tmpfs ] || return 1
	[ "$(df -k --output=avail "$1" | tail -n 1)" -ge $room ] || return 1
	[ "$(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo)" -ge $((2 * room)) ] || return 1
	probe=$(mktemp "$1/casq-XXXXXX" 2>/dev/null) || return 1
	printf '#!/bin/sh\n' >"$probe"
	chmod 700 "$probe"
	"$probe" 2>/dev/null && runs=0 || runs=1
	rm -f "$probe"
	return $runs
}

if [ -n "${TMPDIR:-}" ]; then
	echo "$TMPDIR"
elif roomy $memory; then
	echo $memory
else
	echo /tmp
fi
