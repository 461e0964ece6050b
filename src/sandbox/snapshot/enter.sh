#!/bin/sh
# First step of CRIU, in a mount namespace of its own: makes the mounts of MOUNTS, an fstab, by way of FILE. Then it
# says that it is ready, and waits for a line, whose words are the last arguments of COMMAND: what is slow is done by
# then.
# usage: enter.sh FILE MOUNTS COMMAND...
set -euf
printf '%s' "$2" >"$1"
mount --all --fstab "$1"
shift 2
echo ready
read -r words
# shellcheck disable=SC2086  # a list of words
exec "$@" $words
