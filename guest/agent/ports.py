"""Connections from outside to ports that programs of the session listen on.

The server asks for one with a ticket. The agent connects to the port inside, dials the server's second socket, shows the
ticket there, and from then on carries bytes both ways.
"""

import select
from _socket import AF_INET, AF_UNIX, SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket

from relay import Relay, Side

SOCKET_PATH = "/run/era/ports.sock"
MAX_CONNECTIONS = 256


class PortRelay(Relay):
    """`on_close(relay)` is called once, at its end."""

    def __init__(self, watcher, port, ticket, on_close):
        super().__init__(watcher)
        self.ticket = ticket
        self.on_close = on_close
        inner = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
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

    def closed(self):
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
            self.relays.add(PortRelay(self.watcher, port, ticket, self.closed))
        except OSError:
            self.refuse(ticket)

    def closed(self, relay):
        self.relays.discard(relay)
        if relay.outer is None:
            self.refuse(relay.ticket)

    def close(self):
        for relay in list(self.relays):
            relay.close()
