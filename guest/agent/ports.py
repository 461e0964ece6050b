"""Connections from outside to ports that programs of the session listen on.

The server asks for one with a ticket. The agent connects to the port inside, dials the server's second socket, shows the
ticket there, and from then on carries bytes both ways, as fast as the slower side takes them.
"""

import select
from _socket import AF_INET, AF_UNIX, SHUT_WR, SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket

SOCKET_PATH = "/run/era/ports.sock"
MAX_CONNECTIONS = 256
BUFFER_BYTES = 1 << 16


class Side:
    """One end: its socket, what waits to be written to it, and whether each direction is over."""

    def __init__(self, connection):
        self.socket = connection
        self.waiting = bytearray()
        self.has_ended = False  # nothing more will be read from it
        self.is_shut = False  # nothing more will be written to it


class Relay:
    """`on_close(relay)` is called once, when both directions are over or either side broke."""

    def __init__(self, watcher, port, ticket, on_close):
        self.watcher = watcher
        self.ticket = ticket
        self.on_close = on_close
        inner = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        self.outer = None
        self.inner = Side(inner)
        try:
            inner.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass
        except OSError:
            inner.close()
            raise
        watcher.watch(inner.fileno(), select.POLLOUT, self.on_connected)

    def on_connected(self, _events):
        """The port answered, or refused."""
        inner = self.inner.socket
        if inner.getsockopt(SOL_SOCKET, SO_ERROR) != 0:
            self.close()
            return
        try:
            outer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            self.outer = Side(outer)
            outer.connect(SOCKET_PATH)
            outer.setblocking(False)
        except OSError:
            self.close()
            return
        self.outer.waiting += self.ticket.encode()
        self.rewatch()

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
        """A side of which nothing is wanted now is not watched at all: poll() tells a hang-up also to who did not ask."""
        for side, other in ((self.inner, self.outer), (self.outer, self.inner)):
            reads = select.POLLIN if not side.has_ended and len(other.waiting) < BUFFER_BYTES else 0
            events = reads | (select.POLLOUT if side.waiting else 0)
            number = side.socket.fileno()
            if events:
                self.watcher.watch(number, events, lambda found, side=side, other=other: self.on_side(side, other, found))
            elif number in self.watcher.handlers:
                self.watcher.unwatch(number)

    def close(self):
        for side in (self.inner, self.outer):
            if side is not None:
                if side.socket.fileno() in self.watcher.handlers:
                    self.watcher.unwatch(side.socket.fileno())
                side.socket.close()
        self.on_close(self)


class Ports:
    """`refuse(ticket)` tells the server that nobody listens on a port."""

    def __init__(self, watcher, refuse):
        self.watcher = watcher
        self.refuse = refuse
        self.relays = set()

    def connect(self, port, ticket):
        if len(self.relays) >= MAX_CONNECTIONS:
            self.refuse(ticket)
            return
        try:
            self.relays.add(Relay(self.watcher, port, ticket, self.closed))
        except OSError:
            self.refuse(ticket)

    def closed(self, relay):
        self.relays.discard(relay)
        if relay.outer is None:
            self.refuse(relay.ticket)

    def close(self):
        for relay in list(self.relays):
            relay.close()
