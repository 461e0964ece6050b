"""Compiles the system call policy (JSON on standard input) to BPF with libseccomp; runs inside the image.

usage: compile-seccomp.py OUTPUT
"""

import errno
import json
import sys

import seccomp


def add(rules, action, name, conditions=()):
    arguments = [seccomp.Arg(part["argument"], seccomp.MASKED_EQ, part["mask"], part["value"]) for part in conditions]
    # A call that this architecture or library does not know has no number to name: it answers ENOSYS.
    if seccomp.resolve_syscall(seccomp.Arch(), name) != -1:
        rules.add_rule(action, name, *arguments)


def main():
    policy = json.load(sys.stdin)
    rules = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.ENOSYS))
    for name in policy["allow"]:
        add(rules, seccomp.ALLOW, name)
    for name in policy["deny"]:
        add(rules, seccomp.ERRNO(errno.EPERM), name)
    for rule in policy["allowWhen"]:
        add(rules, seccomp.ALLOW, rule["call"], rule["conditions"])
    with open(sys.argv[1], "wb") as file:
        rules.export_bpf(file)


main()
