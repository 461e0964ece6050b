"""
What processes print that a run has left behind: each of its pipes is read until nobody holds it any more, within
limits.
"""

from output import LATE_BYTES, STREAMS
from wire import FrameError

MAX_LATE_PIPES = 32


class LateOutput:
    """`send(header, payload)` tells the server."""

    def __init__(self, loop, send):
        self._loop = loop
        self._send = send
        self._pipes = {}  # reader -> pipe

    def forget(self, pipe):
        """It is a run's own again."""
        self._pipes.pop(pipe.reader, None)

    def keep(self, pipe, run_id):
        if not pipe.open:
            self._unwatch(pipe)
            return
        pipe.end_run()
        self._pipes[pipe.reader] = pipe
        self._loop.hand_over(pipe.reader, lambda _events: self._on_output(pipe, run_id))
        own = [each for each in self._pipes.values() if not each.lives_with_kernel]
        if len(own) > MAX_LATE_PIPES:
            self._drop(own[0])

    def forward_of_kernel(self, kernel, run_id, stream, payload):
        """What a kernel itself tells apart as output of an earlier run."""
        if stream not in STREAMS:
            raise FrameError("late output of no stream")
        counts = kernel.late_bytes
        kept = payload[: max(0, LATE_BYTES - counts.get(run_id, 0))]
        counts[run_id] = counts.get(run_id, 0) + len(kept)
        if kept:
            self._send({"type": "late", "run": run_id, "stream": stream}, kept)

    def _on_output(self, pipe, run_id):
        def forward(stream, chunk):
            self._send({"type": "late", "run": run_id, "stream": stream}, chunk)

        pipe.read_once(forward)
        pipe.release(forward)
        if not pipe.open:
            self._drop(pipe)

    def _drop(self, pipe):
        del self._pipes[pipe.reader]
        self._unwatch(pipe)

    def _unwatch(self, pipe):
        if self._loop.is_watched(pipe.reader):
            self._loop.unwatch(pipe.reader)
        if not pipe.lives_with_kernel:
            pipe.close()
