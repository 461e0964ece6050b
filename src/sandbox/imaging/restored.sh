#!/bin/sh
# Called by CRIU at each stage of a restore. When the namespaces are there and nothing of the guest has run: brings up the
# loopback, and forbids namespaces below the new user namespace, as user.ts does for a new sandbox. ERA_IP: the command `ip`.
set -eu
[ "${CRTOOLS_SCRIPT_ACTION:-}" = setup-namespaces ] || exit 0
# shellcheck disable=SC2016  # expanded by the inner shell; ERA_IP is a list of words
exec nsenter --target "$CRTOOLS_INIT_PID" --user --net -S 0 -G 0 -- \
  sh -c '$ERA_IP link set lo up && echo 0 >/proc/sys/user/max_user_namespaces'
