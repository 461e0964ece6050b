#!/bin/sh
# Last step of the image's build, run by mmdebstrap with the root file system as its only argument.
set -eu
root=$1

# Where the sandbox mounts the session's folders and the guest programs.
mkdir -p "$root/workspace" "$root/opt/era" "$root/usr/share/era/matplotlib"

# The font list takes matplotlib seconds to build: it is built once, here, and linked into each session's cache.
chroot "$root" env HOME=/tmp MPLBACKEND=agg MPLCONFIGDIR=/tmp/mpl python3 -c 'import matplotlib.font_manager'
cp "$root"/tmp/mpl/fontlist-*.json "$root/usr/share/era/matplotlib/"
rm -rf "$root/tmp/mpl"

# Go names architectures in its own way: amd64, arm64.
packages=usr/lib/go/pkg/linux_$(chroot "$root" go env GOARCH)
# Go's standard library, compiled: else the first program of each session would wait for it.
go() { chroot "$root" env HOME=/tmp GOCACHE=/tmp/go-cache GODEBUG=installgoroot=all go "$@"; }
go install std
# Where its packages are, for builds without the go command: all that may be linked, those that a program may import,
# and those that most programs are linked with.
mkdir -p "$root/usr/share/era/go"
(cd "$root/$packages" && find . -name '*.a') |
	sed "s|^\./\(.*\)\.a\$|packagefile \1=/$packages/\1.a|" | sort >"$root/usr/share/era/go/linked"
grep -v -e ' vendor/' -e '[ /]internal[/=]' "$root/usr/share/era/go/linked" >"$root/usr/share/era/go/importable"
go list -deps net/http | grep -v '^unsafe$' | sed "s|.*|/$packages/&.a|" >"$root/usr/share/era/go/usual"
rm -rf "$root/tmp/go-cache"

# Programs that are copied from npm packages later.
mkdir -p "$root/usr/local/bin"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
ln -s ../lib/typescript/lib/tsc "$root/usr/local/bin/tsc"
# Packages that a session installs for itself are in its home: here its modules find them, wherever they lie.
ln -s /root/.node/node_modules "$root/node_modules"

# Nothing of the machine that built it.
rm -f "$root/etc/resolv.conf" "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/* "$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
echo era >"$root/etc/hostname"
printf '127.0.0.1 localhost era\n::1 localhost\n' >"$root/etc/hosts"
touch "$root/etc/resolv.conf"
chmod 755 "$root"
