"""Connections from outside to ports that programs of the session listen on.

The server asks for one with a ticket. The agent connects to the port inside, dials the server's second socket, shows
the ticket there, and from then on carries bytes both ways.
"""

import select
from _socket import AF_INET, AF_UNIX, SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket

from pipe import Pipe, Side

SOCKET_PATH = "/run/era/ports.sock"
MAX_CONNECTIONS = 256


class PortPipe(Pipe):
    """`on_close(pipe)` is called once, at its end."""

    def __init__(self, loop, port, ticket, on_close):
        super().__init__(loop)
        self.ticket = ticket
        self.on_close = on_close
        inner = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        self.inner = Side(inner)
        self.connecting = inner
        try:
            inner.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass
        except OSError:
            inner.close()
            raise
        loop.watch(inner.fileno(), select.POLLOUT, self.on_connected)

    def on_connected(self, _events):
        """The port answered, or refused."""
        if self.connecting.getsockopt(SOL_SOCKET, SO_ERROR) != 0:
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

    def __init__(self, loop, refuse):
        self.loop = loop
        self.refuse = refuse
        self.pipes = set()

    def connect(self, port, ticket):
        if len(self.pipes) >= MAX_CONNECTIONS:
            self.refuse(ticket)
            return
        try:
            self.pipes.add(PortPipe(self.loop, port, ticket, self.closed))
        except OSError:
            self.refuse(ticket)

    def closed(self, pipe):
        self.pipes.discard(pipe)
        if pipe.outer is None:
            self.refuse(pipe.ticket)

    def close(self):
        for pipe in list(self.pipes):
            pipe.close()
