#!/bin/sh
# Last step of a restore, in the user and network namespaces of the sandbox: brings up the loopback, and forbids
# namespaces below the user namespace, as user.ts does for a new sandbox. usage: open.sh IP_COMMAND...
set -eu
"$@" link set lo up
echo 0 >/proc/sys/user/max_user_namespaces
