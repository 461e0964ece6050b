"""The run in progress: its output, its time limit and the ladder by which it is ended."""

import time

import processes

SIGTERM, SIGKILL = 15, 9
# What a run displays is forwarded up to there, and one more: the server, which has the same limits, tells of the rest.
MAX_DISPLAYED, MAX_DISPLAYED_BYTES = 2_000, 9 << 20
# Seconds that the program has after each rung before the next.
AFTER_SIGTERM, AFTER_INTERRUPT, AFTER_CHILDREN = 1.0, 0.5, 0.5


class Run:
    def __init__(self, header, pipes, beside):
        """`beside()`: sessions of processes that are no part of it."""
        self._beside = beside
        self.id = header["run"]
        self.started = time.monotonic()
        self.started_ticks = processes.boot_ticks()
        self.seconds = header["timeout_ms"] / 1000
        self.deadline = self.started + self.seconds
        self.has_begun = False
        self.keep_files = header["keep_files"]
        self.version = header["version"]
        self.save = header["save"]  # none, async or sync
        self.cause: str | None = None  # the first of: timed_out, interrupted
        self.pipes = pipes
        self.input = None  # a StandardInput, where it is asked for while it runs
        self.target = None  # what is interrupted and killed with it: the kernel, or a shell command
        self.left_out = 0  # results for which its answer has no room
        self._displayed = self._displayed_bytes = 0
        self._rungs = iter(())

    def begin(self):
        """
        The kernel comes to it only now, after a save of its own: that was not the program's time. Once for each run.
        """
        if not self.has_begun and self.cause is None:
            self.has_begun = True
            self.started = time.monotonic()
            self.deadline = self.started + self.seconds

    def dropped(self):
        """Bytes of its output, and results, that are not in its answer."""
        streams = {pipe.stream: pipe.dropped for pipe in self.pipes if pipe.dropped}
        return {**streams, "results": self.left_out} if self.left_out else streams

    def displays(self, content):
        """Counts something that it displays; answers whether it is told."""
        is_within = self._displayed <= MAX_DISPLAYED and self._displayed_bytes <= MAX_DISPLAYED_BYTES
        self._displayed += 1
        self._displayed_bytes += len(content)
        return is_within

    def end(self, cause, kernel):
        """
        Begins to end the run; a second cause changes nothing. Of the kernel's own processes none is a child of the run.
        """
        if self.cause is None:
            self.cause = cause
            self._rungs = self._ladder(self.target, kernel)
            self.climb()

    def climb(self):
        """Takes the next rung, and sets the time for the one after it."""
        self.deadline = time.monotonic() + next(self._rungs)

    def kill_children(self, kernel):
        processes.kill_since(self.started_ticks, {kernel.pid, kernel.own_pid}, self._beside())

    def _ladder(self, target, kernel):
        """Polite first: a program with a SIGTERM handler may save its progress, any other is interrupted."""
        if target.wants_sigterm():
            target.signal(SIGTERM)
            yield AFTER_SIGTERM
        target.interrupt()
        yield AFTER_INTERRUPT
        self.kill_children(kernel)
        target.interrupt()
        yield AFTER_CHILDREN
        while True:
            target.signal(SIGKILL)
            self.kill_children(kernel)
            yield AFTER_CHILDREN
