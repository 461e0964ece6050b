#!/bin/sh
# First step of CRIU, in a mount namespace of its own: RUN_DIR takes the place of /run, where CRIU keeps what it has found
# out of this kernel; the image's root becomes a mount, as CRIU asks of a new root; and there is an empty memory file
# system for each NAME, in /run. usage: enter.sh RUN_DIR ROOTFS TMPFS_OPTIONS [NAME...] -- COMMAND...
set -eu
mount --bind "$1" /run
mount --bind "$2" "$2"
options=$3
shift 3
while [ "$1" != -- ]; do
  mkdir -p "/run/$1"
  mount -t tmpfs -o "$options" tmpfs "/run/$1"
  shift
done
shift
exec "$@"
