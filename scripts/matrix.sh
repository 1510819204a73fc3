#!/bin/sh
# Runs the suites of the log, the cursors, tracked views, the registry, the counters and the reads
# from standbys in the worlds of strangers, one after the other:
#
#   settings    each connection has other settings than the one before, and is told
#               of errors in German
#   ordinary    an ordinary role owns the database; nothing follows DDL
#   postgres18  Postgres 18
#   ahead       the database's clock is 90 s ahead of the workers'
#   behind      90 s behind
#   stranger    all of these at once (ahead)
#
#   scripts/matrix.sh [--short] [WORLD]...    defaults to all but the last
#
# --short: the quick tests, two packages at a time, which is for CI.
#
# What cannot be had here is said, with the reason. Exits 1 when a test failed or
# nothing was run, 2 for an unknown world. internal/testing/testdb says what the variables
# do.
set -eu
cd "$(dirname "$0")/.."

suites='./eventlog ./internal/cursor ./internal/view ./registry/... ./counter/... ./replica'
one='TimeZone=Asia/Kathmandu;DateStyle=SQL, DMY;IntervalStyle=sql_standard;bytea_output=escape;extra_float_digits=-2'
two='TimeZone=America/St_Johns;DateStyle=German;IntervalStyle=postgres_verbose;bytea_output=hex;extra_float_digits=0'

# enter sets the variables of a world; it fails, and says why, where the world
# cannot be had.
enter() {
	case $1 in
	settings) export CASQ_TEST_SETTINGS="$one|$two" CASQ_TEST_MESSAGES=C.UTF-8 ;;
	ordinary) export CASQ_TEST_OWNER=ordinary ;;
	postgres18)
		CASQ_TEST_POSTGRES=$(scripts/postgres18.sh) || return 1
		export CASQ_TEST_POSTGRES
		;;
	ahead) export CASQ_TEST_CLOCK=90s ;;
	behind) export CASQ_TEST_CLOCK=-90s ;;
	stranger)
		enter settings
		enter ordinary
		# One that cannot be had leaves the others.
		enter postgres18 || echo "matrix: $1 without Postgres 18 (the reason is above), on the one that is installed"
		enter ahead
		;;
	*)
		echo "matrix: unknown world $1: want settings, ordinary, postgres18, ahead, behind or stranger" >&2
		exit 2
		;;
	esac
}

how='-p 1 -timeout 15m'
if [ "${1:-}" = --short ]; then
	how='-p 2 -timeout 10m -short'
	shift
fi
ran='' failed='' missing=''
for world in ${*:-settings ordinary postgres18 ahead behind}; do
	echo "matrix: $world"
	# A world's variables end with its subshell: 3 says that it cannot be had.
	code=0
	(
		enter "$world" || exit 3
		# shellcheck disable=SC2086 # They are words.
		exec ${GO:-go} test -vet=off $how $suites
	) || code=$?
	case $code in
	0) ran="$ran $world" ;;
	2) exit 2 ;;
	3) missing="$missing $world" ;;
	*) failed="$failed $world" ;;
	esac
done
[ -z "$missing" ] || echo "matrix: cannot be had here:$missing"
if [ -n "$failed" ] || [ -z "$ran" ]; then
	echo "matrix: failed:${failed:- nothing was run}"
	exit 1
fi
echo "matrix: OK$ran"
