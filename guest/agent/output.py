"""Pipes that carry the output of one run, read for as long as any process holds their other end."""

import os

CHUNK_BYTES = 1 << 16
# A line is often written in parts (print writes its end by itself): the part without its end waits so long for it.
HOLD_SECONDS = 0.005
PIPE_BYTES = 1 << 16  # what the kernel's pipes hold
LATE_BYTES = 1 << 16
STREAMS = ("stdout", "stderr")


class OutputPipe:
    """One stream of one run. `forward(stream, bytes)` is called for what is within the run's limit."""

    def __init__(self, stream, limit):
        self.stream = stream
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.reader, False)
        self._room = limit
        self._held = b""
        self.dropped = 0
        self.open = True

    def hand_over(self):
        """Closes the agent's copy of the writing end, once the kernel has its own."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def read_once(self, forward):
        """Forwards one chunk; False when there is nothing to read now."""
        if not self.open:
            return False
        try:
            chunk = os.read(self.reader, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self.open = False
            return False
        kept = chunk[: self._room]
        self._room -= len(kept)
        self.dropped += len(chunk) - len(kept)
        text = self._held + kept
        whole = text.rfind(b"\n") + 1
        self._held = text[whole:]
        if whole:
            forward(self.stream, text[:whole])
        return True

    @property
    def holds(self):
        return bool(self._held)

    def release(self, forward):
        """Forwards the beginning of a line whose end has not come."""
        held, self._held = self._held, b""
        if held:
            forward(self.stream, held)

    def drain(self, forward):
        """Forwards all that was written before this call (bounded: a writer may be faster than the reader)."""
        for _ in range(1 + 2 * PIPE_BYTES // CHUNK_BYTES):
            if not self.read_once(forward):
                break
        self.release(forward)

    lives_with_kernel = False  # it serves all runs of a kernel, and is closed with it

    def begin_run(self, limit):
        """A pipe may serve more than one run: what arrives from now on is the next one's."""
        self._room = limit
        self._held = b""
        self.dropped = 0

    def end_run(self):
        """From now on what arrives is late: counted against a small limit of its own."""
        self._room = LATE_BYTES
        self._held = b""

    def close(self):
        self.open = False
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1
        if self.writer >= 0:
            os.close(self.writer)
