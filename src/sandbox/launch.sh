#!/bin/sh
# Last host step of a sandbox: takes on its limits and its cgroups, then becomes the command given.
# usage: launch.sh OPEN_FILES FILE_BLOCKS_OF_512 [CGROUP_DIR...] -- COMMAND...
set -eu
ulimit -c 0
ulimit -n "$1"
ulimit -f "$2"
shift 2
while [ "$1" != -- ]; do
  echo 0 >"$1/cgroup.procs"
  shift
done
shift
exec "$@"
