#!/bin/sh
# Makes a Debian package of this checkout, with all that it needs from npm: era-agent_VERSION_ARCHITECTURE.deb in FOLDER.
# usage: build.sh FOLDER
set -eu
root=$(dirname "$(readlink -f "$0")")/../..
out=$(readlink -f "$1")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$root/package.json")
architecture=$(dpkg --print-architecture)
app=$tree/opt/era-agent
mkdir -p "$app" "$tree/usr/bin" "$tree/lib/systemd/system" "$tree/etc/default" "$tree/DEBIAN"

for part in era package.json package-lock.json LICENSE README.md src guest images docs; do
  cp -R "$root/$part" "$app/"
done
find "$app/src" -name '*.test.ts' -delete
(cd "$app" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
cp "$app/package-lock.json" "$app/node_modules/.era-lockfile"

ln -s /opt/era-agent/era "$tree/usr/bin/era"
here=$root/deploy/debian
cp "$here/era-agent.service" "$tree/lib/systemd/system/"
cp "$here/era-agent.default" "$tree/etc/default/era-agent"
for name in postinst prerm postrm; do
  install -m 0755 "$here/$name" "$tree/DEBIAN/$name"
done
echo /etc/default/era-agent >"$tree/DEBIAN/conffiles"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: era-agent
Version: $version
Architecture: $architecture
Maintainer: ERA Agent <era-agent@localhost>
Section: net
Priority: optional
Installed-Size: $(du -sk "$tree" | cut -f1)
Depends: bubblewrap, mmdebstrap, util-linux, debian-archive-keyring
Recommends: uidmap
Description: runs code in isolated sessions that remember
 A self-hosted code interpreter: variables, imports, functions and files of a session are there on its next run, after
 sleep, a restart, or a crash. Each session is a sandbox of the operating system.
CONTROL
find "$tree" -type d -exec chmod 0755 {} +
dpkg-deb --root-owner-group -Zzstd -z6 --build "$tree" "$out/era-agent_${version}_$architecture.deb"
