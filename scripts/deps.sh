#!/bin/sh
# Finds what casq is built and tested with: go, git, gcc (for -race), make, the
# server programs of Postgres 15 or newer, and Redis 7 or newer.
#
#   scripts/deps.sh          install what is missing (Debian and Ubuntu, as root),
#                            else say exactly what to install
#   scripts/deps.sh --check  only look
#   scripts/deps.sh --test   what the tests need, too: chromium, for the pages (on Debian
#                            112 MB to fetch, 390 MB installed, 20 s)
#
# Exits 0 with one line when all is there, 1 when not, 2 for a wrong argument.
# No service is started and no cluster made: tests start their own servers.
#
# DEPS_ROOT is put before the paths of the system that are looked at or written;
# the tests of this script use it.
set -eu

min_go=21 # Go 1.21 fetches the version that go.mod names by itself.
min_postgres=15
min_redis=7
root=${DEPS_ROOT:-}

# first prints the first number of a program's version.
first() {
	sed -n "s/^.*\\($1\\)\\([0-9][0-9]*\\).*\$/\\2/p" | head -n 1
}

have_headers() {
	gcc -E -x c - >/dev/null 2>&1 <<'C'
#include <stdlib.h>
C
}

# postgres_in prints the major version of a complete installation in a folder.
postgres_in() {
	[ -x "$1/postgres" ] && [ -x "$1/initdb" ] || return 0
	"$1/postgres" --version 2>/dev/null | first '(PostgreSQL) '
}

# postgres_major prints the newest version found, nothing without one.
postgres_major() {
	newest=
	for dir in "$(dirname "$(readlink -f "$(command -v postgres || echo /nowhere/postgres)")")" \
		"$root"/usr/lib/postgresql/*/bin "$root"/usr/pgsql-*/bin \
		"$root"/opt/homebrew/opt/postgresql@*/bin "$(pg_config --bindir 2>/dev/null || :)"; do
		major=$(postgres_in "$dir")
		if [ -n "$major" ] && [ "$major" -gt "${newest:-0}" ]; then newest=$major; fi
	done
	echo "$newest"
}

redis_major() {
	if command -v redis-server >/dev/null; then
		redis-server --version 2>/dev/null | first 'v='
	fi
}

# at_least is true for a number that is there and not below another.
at_least() { [ -n "$1" ] && [ "$1" -ge "$2" ]; }

# look sets packages to what Debian calls the missing resources, and missing to what
# people call them.
look() {
	missing='' packages=''
	miss() {
		missing="$missing${missing:+, }$1"
		packages="$packages${packages:+${2:+ }}$2"
	}
	# Outside the module, where an older go would fetch a newer one.
	go_minor=
	if command -v go >/dev/null; then
		go_minor=$(cd / && GOTOOLCHAIN=local go version 2>/dev/null | first 'go1\.')
	fi
	at_least "$go_minor" $min_go || miss "go 1.$min_go or newer (from https://go.dev/dl/)" ''
	command -v git >/dev/null || miss git git
	command -v make >/dev/null || miss make make
	if ! command -v gcc >/dev/null; then
		miss gcc 'gcc libc6-dev'
	elif ! have_headers; then
		miss 'the C library headers' libc6-dev
	fi
	postgres=$(postgres_major)
	at_least "$postgres" $min_postgres || miss "postgres $min_postgres or newer (server programs)" postgresql
	redis=$(redis_major)
	at_least "$redis" $min_redis || miss "redis $min_redis or newer" redis-server
	if [ -n "$for_tests" ] && ! command -v chromium >/dev/null; then miss chromium chromium; fi
}

say_ready() {
	echo "deps: go 1.$go_minor, git, gcc, make, postgres $postgres and redis $redis are there${for_tests:+, and chromium}"
}

# say_missing tells how to get it, on the systems that we know.
say_missing() {
	{
		echo "deps: missing: $missing"
		[ -n "$packages" ] || return 0
		echo "  Debian, Ubuntu: sudo scripts/deps.sh"
		echo "            or: sudo apt-get install --no-install-recommends $packages"
		echo "                (older releases: Postgres from https://apt.postgresql.org, Redis from https://packages.redis.io)"
		echo "  Fedora:         sudo dnf install git make gcc postgresql-server redis"
		echo "                  (without a package redis: valkey-compat-redis)"
		echo "  macOS:          xcode-select --install; brew install postgresql@17 redis"
	} >&2
}

keep_services_down() {
	policy=$root/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		made_policy=$policy
		printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
	fi
}

# make_no_cluster is called when postgresql-common is there, which brings the
# file, and before the server's package, which would make a cluster.
make_no_cluster() {
	conf=$root/etc/postgresql-common/createcluster.conf
	if [ -e "$conf" ]; then
		cp -p "$conf" "$conf.deps" || return 1
		saved_conf=$conf
	else
		mkdir -p "$(dirname "$conf")" || return 1
		made_conf=$conf
	fi
	echo 'create_main_cluster = false' >>"$conf"
}

made_policy='' made_conf='' saved_conf=''
restore() {
	[ -z "$made_policy" ] || rm -f "$made_policy"
	[ -z "$made_conf" ] || rm -f "$made_conf"
	[ -z "$saved_conf" ] || mv "$saved_conf.deps" "$saved_conf"
	made_policy='' made_conf='' saved_conf=''
}

# apt installs packages, with fresh lists when it cannot with those that are there.
apt() {
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 && return
	if [ -z "${updated:-}" ]; then
		apt-get update -q >&2 || echo "deps: apt-get update did not work; trying with the lists that are there" >&2
		updated=1
	fi
	apt-get install -y -q --no-install-recommends "$@" >&2
}

# install_missing is called where a failing command does not end the script, so
# each says what follows from it.
install_missing() {
	echo "deps: installing $packages" >&2
	trap restore EXIT
	trap 'exit 1' HUP INT TERM
	keep_services_down || return 1
	case " $packages " in
	*' postgresql '*)
		apt postgresql-common || return 1
		make_no_cluster || return 1
		;;
	esac
	# shellcheck disable=SC2086 # The list is words.
	apt $packages || return 1
	# A fresh package makes the service start with the machine.
	if [ -z "$redis" ] && command -v systemctl >/dev/null; then
		systemctl disable --quiet redis-server >/dev/null 2>&1 || :
	fi
}

check_only='' for_tests=''
case ${1:-} in
'') ;;
--check) check_only=1 ;;
--test) for_tests=1 ;;
*)
	echo "usage: scripts/deps.sh [--check | --test]" >&2
	exit 2
	;;
esac

look
if [ -z "$missing" ]; then
	say_ready
	exit 0
fi
if [ -z "$check_only" ] && [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	if ! (install_missing); then
		echo "deps: apt-get did not install it all" >&2
	fi
	look
	if [ -z "$missing" ]; then
		say_ready
		exit 0
	fi
fi
say_missing
exit 1
