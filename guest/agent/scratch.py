"""The folder /tmp, which is memory: an archive in the state folder while the session sleeps, unpacked when it wakes."""

import os
import select
import time
from _stat import S_ISREG

from state_files import STATE

SCRATCH, TAR = "/tmp", "/usr/bin/tar"
ARCHIVE, PART = STATE + "/tmp.tar", STATE + "/.tmp-part"
SECONDS = 20
MAX_REASON = 300
CHANGED = 1  # tar's status when a file was written to while it was read


class ScratchLost(Exception):
    """It could not be kept, or not be put back; the message says why."""


class TooSlow(ScratchLost):
    """Whatever there is of an archive is not whole."""


def keep():
    """Writes the archive, or removes it when there is nothing to keep. Raises ScratchLost."""
    forget()
    if not os.listdir(SCRATCH):
        return
    lost = None
    try:
        _tar("--create", "--file", PART, "--sparse", "--one-file-system", "--warning=no-file-ignored", ".")
    except TooSlow:
        _remove(PART)
        raise
    except ScratchLost as error:
        lost = error  # the archive has what could be read
    if S_ISREG(os.lstat(PART).st_mode):
        os.rename(PART, ARCHIVE)
    if lost is not None:
        raise lost


def restore():
    """Puts back what was kept: once, since a sandbox that dies leaves /tmp empty. Raises ScratchLost."""
    if not os.path.lexists(ARCHIVE):
        return
    try:
        _tar("--extract", "--file", ARCHIVE, "--same-permissions", "--no-overwrite-dir")
    finally:
        forget()


def forget():
    _remove(ARCHIVE)


def _remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass  # there is none, or something that the guest has put there


def _tar(*arguments):
    """Its standard error tells why it fails; a time limit, since a guest chooses what it meets."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writer, 2)]
        argv = [TAR, "--directory", SCRATCH, *arguments]
        pid = os.posix_spawn(TAR, argv, {"LC_ALL": "C"}, file_actions=actions)
    except OSError as error:
        os.close(reader)
        raise ScratchLost(f"no program for it can be started: {error.strerror}") from error
    finally:
        os.close(writer)
    try:
        said = _read(reader, time.monotonic() + SECONDS)
        if said is None:
            os.kill(pid, 9)
        status = os.waitpid(pid, 0)[1]
    finally:
        os.close(reader)
    if said is None:
        raise TooSlow(f"it takes longer than {SECONDS} s")
    if os.waitstatus_to_exitcode(status) not in (0, CHANGED):
        raise ScratchLost(said.decode(errors="replace")[:MAX_REASON] or "its archive cannot be written")


def _read(reader, deadline):
    """What is said until the end, as far as it is told to anybody; None when that takes too long."""
    waiter = select.poll()
    waiter.register(reader, select.POLLIN)
    said = b""
    while waiter.poll(max(0, (deadline - time.monotonic()) * 1000)):
        part = os.read(reader, 1 << 12)
        if not part:
            return said
        said = (said + part)[: 4 * MAX_REASON]
    return None
