#!/bin/sh
# Restores processes by COMMAND, which is CRIU, and does what it leaves undone, before anything of the guest runs.
# PID_FILE is where CRIU says which process is their first. usage: restore.sh PID_FILE COMMAND...
# ERA_OPEN: the command of open.sh, with its arguments.
set -eu
pid_file=$1
shift
setpriv --pdeathsig KILL -- "$@" # what this shell itself has, its child does not
read -r pid <"$pid_file" || [ -n "$pid" ] # it writes no line's end
# shellcheck disable=SC2086  # a list of words
exec nsenter --target "$pid" --user --net -S 0 -G 0 -- $ERA_OPEN
