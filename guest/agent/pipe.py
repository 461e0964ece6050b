"""Carrying bytes both ways between two sockets, as fast as the slower side takes them."""

import select
from _socket import SHUT_WR

BUFFER_BYTES = 1 << 16


class Side:
    """One end: its socket, what waits to be written to it, and whether each direction is over."""

    def __init__(self, connection):
        self.socket = connection
        self.waiting = bytearray()
        self.has_ended = False  # nothing more will be read from it
        self.is_shut = False  # nothing more will be written to it


class Pipe:
    """Between an inner and an outer socket, once both are there. `closed()` is called once, when both directions are
    over or either side broke."""

    def __init__(self, loop):
        self.loop = loop
        self.inner: Side | None = None
        self.outer: Side | None = None

    def on_side(self, side, other, events):
        try:
            if events & select.POLLOUT:
                self.write(side)
            if events & ~select.POLLOUT and not side.has_ended:
                self.read(side, other)
            for each, source in ((side, other), (other, side)):
                if source.has_ended and not each.waiting and not each.is_shut:
                    each.is_shut = True
                    each.socket.shutdown(SHUT_WR)
        except OSError:
            self.close()
            return
        if side.is_shut and other.is_shut:
            self.close()
        else:
            self.rewatch()

    @staticmethod
    def read(side, other):
        try:
            chunk = side.socket.recv(BUFFER_BYTES)
        except BlockingIOError:
            return
        if chunk:
            other.waiting += chunk
        else:
            side.has_ended = True

    @staticmethod
    def write(side):
        try:
            while side.waiting:
                del side.waiting[: side.socket.send(side.waiting[:BUFFER_BYTES])]
        except BlockingIOError:
            pass

    def rewatch(self):
        """
        A side of which nothing is wanted now is not watched at all: poll() tells a hang-up also to who did not ask.
        """
        inner, outer = self.inner, self.outer
        if inner is None or outer is None:
            return
        for side, other in ((inner, outer), (outer, inner)):
            reads = select.POLLIN if not side.has_ended and len(other.waiting) < BUFFER_BYTES else 0
            events = reads | (select.POLLOUT if side.waiting else 0)
            number = side.socket.fileno()
            if events:
                self.loop.watch(number, events, lambda found, side=side, other=other: self.on_side(side, other, found))
            elif self.loop.is_watched(number):
                self.loop.unwatch(number)

    def close(self):
        for side in (self.inner, self.outer):
            if side is not None:
                if self.loop.is_watched(side.socket.fileno()):
                    self.loop.unwatch(side.socket.fileno())
                side.socket.close()
        self.closed()

    def closed(self):
        """For subclasses."""
