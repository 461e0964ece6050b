#!/bin/sh
# First step of CRIU, in a mount namespace of its own: RUN_DIR takes the place of /run, where CRIU keeps what it has found
# out of this kernel, and the image's root becomes a mount, as CRIU asks of a new root. usage: enter.sh RUN_DIR ROOTFS COMMAND...
set -eu
mount --bind "$1" /run
mount --bind "$2" "$2"
shift 2
exec "$@"
