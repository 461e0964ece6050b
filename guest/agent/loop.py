"""One event loop over descriptors and clocks. Nothing in it waits for anything else."""

import select
import time


class Loop:
    def __init__(self):
        self._poll = select.poll()
        self._handlers = {}
        self._clocks = []

    def watch(self, descriptor, events, handler):
        """Calls the handler with the events that have happened; watching again changes both."""
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, events)

    def change(self, descriptor, events):
        self._poll.modify(descriptor, events)

    def hand_over(self, descriptor, handler):
        """The same events are another handler's from now on."""
        self._handlers[descriptor] = handler

    def unwatch(self, descriptor):
        del self._handlers[descriptor]
        self._poll.unregister(descriptor)

    def is_watched(self, descriptor):
        return descriptor in self._handlers

    def add_clock(self, clock):
        """`clock.next_at()` is a time of time.monotonic(), or None; `clock.on_time(now)` is called with each turn."""
        self._clocks.append(clock)

    def run(self):
        while True:
            self.turn()

    def turn(self):
        for descriptor, events in self._poll.poll(self._wait_ms()):
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler(events)
        for clock in self._clocks:
            clock.on_time(time.monotonic())

    def _wait_ms(self):
        times = [at for clock in self._clocks if (at := clock.next_at()) is not None]
        return max(0, (min(times) - time.monotonic()) * 1000) if times else -1
