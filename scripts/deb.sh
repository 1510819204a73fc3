#!/usr/bin/env bash
# Builds casq's Debian package, from programs that are built: scripts/deb.sh BIN VERSION OUT.
#
# By dpkg-deb, which each Debian has: nfpm, which would do it elsewhere too, needs a module
# that the module proxy does not give out.
set -euo pipefail
[ $# -eq 3 ] || { echo "usage: $0 BIN VERSION OUT.deb" >&2; exit 2; }
bin=$1 out=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# v1.2.3-4-gabc of git is 1.2.3+4-gabc here: after 1.2.3, before 1.2.4.
version=$(sed -E 's/^v//; s/-([0-9]+-g)/+\1/; s/[^A-Za-z0-9.+~-]/./g' <<<"$2")
[[ $version =~ ^[0-9] ]] || version=0~$version

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

put() { install -D --mode="$1" "$2" "$root/$3"; }
put 755 "$bin/worker" usr/lib/casq/worker
put 755 "$bin/enqueue" usr/lib/casq/enqueue
install --directory "$root/usr/bin"
ln -s ../lib/casq/worker "$root/usr/bin/casq-worker"
ln -s ../lib/casq/enqueue "$root/usr/bin/casq-enqueue"
put 644 "$here/deploy/systemd/casq-worker.service" usr/lib/systemd/system/casq-worker.service
put 644 "$here/deploy/systemd/casq-migrate.service" usr/lib/systemd/system/casq-migrate.service
put 644 "$here/deploy/systemd/casq.sysusers" usr/lib/sysusers.d/casq.conf
put 640 "$here/deploy/systemd/worker.env" etc/casq/worker.env
install --directory --mode=700 "$root/etc/casq/credentials"
put 644 "$here/deploy/alerts.yml" usr/share/doc/casq/alerts.yml
put 644 "$here/CHANGELOG.md" usr/share/doc/casq/CHANGELOG.md
for page in "$here"/docs/*.md; do
    put 644 "$page" "usr/share/doc/casq/$(basename "$page")"
done

install --directory "$root/DEBIAN"
echo /etc/casq/worker.env >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<END
Package: casq
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: casq's maintainers <casq@localhost>
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: git (>= 1:2.36), ca-certificates, systemd | systemd-standalone-sysusers
Section: admin
Priority: optional
Description: keeps a second site in step with a primary one
 Files and git repositories, as an application on Postgres creates, changes and
 deletes them; and counters of them that are exact.
END

# The service is not started: it has no database yet. Nor is it started again by an upgrade,
# which replaces workers one by one (upgrade.md).
cat >"$root/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
systemd-sysusers --root="${DPKG_ROOT:-/}" casq.conf
[ -n "$DPKG_ROOT" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
END
cat >"$root/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
[ "$1" = remove ] && [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ] || exit 0
systemctl disable --now casq-worker.service
END
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"

mkdir -p "$(dirname "$out")"
dpkg-deb -Z"${DEB_COMPRESSION:-xz}" --root-owner-group --build "$root" "$out"
