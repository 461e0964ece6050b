#!/bin/sh
# Called by CRIU at each stage of a restore in which connections are restored: they need their loopback before they are.
# ERA_OPEN: the command of open.sh, with its arguments.
set -eu
[ "${CRTOOLS_SCRIPT_ACTION:-}" = setup-namespaces ] || exit 0
# shellcheck disable=SC2086  # a list of words
exec nsenter --target "$CRTOOLS_INIT_PID" --user --net -S 0 -G 0 -- $ERA_OPEN
