#!/bin/sh
# Last host step of a sandbox: takes on its limits and its cgroups, then becomes the command given.
# usage: launch.sh OPEN_FILES FILE_BLOCKS STATE_FILE_BLOCKS [CGROUP_DIR...] -- COMMAND...
# Blocks have 512 bytes. A program may write FILE_BLOCKS into one file. Who saves its state raises that to
# STATE_FILE_BLOCKS.
set -eu
# shellcheck disable=SC3045  # not POSIX, but Debian's sh has them, as every other has
{
  ulimit -c 0
  ulimit -n "$1"
  ulimit -S -f "$2"
  ulimit -H -f "$3"
}
shift 3
while [ "$1" != -- ]; do
  echo 0 >"$1/cgroup.procs"
  shift
done
shift
exec "$@"
