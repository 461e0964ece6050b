"""What the programs of one run read from their standard input.

Nothing, a text that is there from the start, or what a client sends while the run goes on. Then the run asks: whenever
one of its processes waits for input that has not come, that is told, once, with what it has printed last of a line.
"""

import os
import select

import processes

MAX_PENDING = 4 << 20
# How often one looks whether somebody waits: soon at first, and less often the longer the run computes.
LOOK_SECONDS, LOOK_LATER_SECONDS, LATER_AFTER = 0.02, 0.2, 50


def open_text(content):
    """A file without a name that holds a text, read from its start."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    fill(descriptor, content)
    return descriptor


def fill(descriptor, content):
    """Gives a file another content; whoever reads it begins at its start."""
    os.ftruncate(descriptor, 0)
    for at in range(0, len(content), 1 << 20):
        os.pwrite(descriptor, content[at : at + (1 << 20)], at)
    os.lseek(descriptor, 0, os.SEEK_SET)


class StandardInput:
    """Input that comes while the run goes on. `reader` is for the run's processes."""

    def __init__(self, loop, content):
        self._loop = loop
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writer, False)
        self._pipe = os.fstat(self.reader).st_ino
        self._pending = bytearray()
        self._has_end = False
        self._is_told = False
        self._looks = 0
        self.put(content, end=False)

    def hand_over(self):
        """Closes the agent's copy of the reading end, once the run's processes have theirs."""
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def put(self, content, end):
        """Answers how many bytes of it are dropped, since there may not wait as much."""
        kept = b"" if self._has_end else content[: MAX_PENDING - len(self._pending)]
        self._pending += kept
        self._has_end = self._has_end or end
        self._is_told = False
        self._looks = 0
        self._write()
        return len(content) - len(kept)

    def _write(self):
        if self._writer < 0:
            return
        try:
            while self._pending:
                del self._pending[: os.write(self._writer, self._pending[: 1 << 16])]
        except BlockingIOError:
            self._loop.watch(self._writer, select.POLLOUT, lambda _events: self._write())
            return
        except BrokenPipeError:
            self._pending.clear()
        if self._loop.is_watched(self._writer):
            self._loop.unwatch(self._writer)
        if self._has_end:
            self.close()

    def wait_seconds(self):
        """When to look next whether somebody waits; None once there is no more input."""
        if self._writer < 0:
            return None
        return LOOK_SECONDS if self._looks < LATER_AFTER and not self._is_told else LOOK_LATER_SECONDS

    def begins_to_ask(self):
        """Whether one of the run's processes waits for input now, and that was not said yet."""
        self._looks += 1
        if self._writer < 0 or self._pending or self._holds():
            return False
        was_told, self._is_told = self._is_told, processes.is_read(self._pipe)
        return self._is_told and not was_told  # who was told of may have given up, and ask anew

    def _holds(self):
        from fcntl import ioctl
        from termios import FIONREAD

        waiting = bytearray(4)
        ioctl(self._writer, FIONREAD, waiting)
        return any(waiting)

    def close(self):
        self.hand_over()
        if self._writer >= 0:
            if self._loop.is_watched(self._writer):
                self._loop.unwatch(self._writer)
            os.close(self._writer)
            self._writer = -1
