"""The way out: programs find a proxy on a port of their own machine, and the agent carries each connection to the
server.

What may be reached is the server's to say, on its end of the socket; where there is none, connections are hung up.
"""

import select
from _socket import AF_INET, AF_UNIX, SO_REUSEADDR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket

from pipe import Pipe, Side

ADDRESS = ("127.0.0.1", 3128)
SOCKET_PATH = "/run/era/egress.sock"
MAX_CONNECTIONS = 128


class EgressPipe(Pipe):
    def __init__(self, loop, accepted, pipes):
        super().__init__(loop)
        self.pipes = pipes
        self.inner = Side(accepted)
        pipes.add(self)
        try:
            accepted.setblocking(False)
            outer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
            self.outer = Side(outer)
            outer.connect(SOCKET_PATH)
        except OSError:
            self.close()
            return
        self.rewatch()

    def closed(self):
        self.pipes.discard(self)


class Egress:
    def __init__(self, loop):
        self.loop = loop
        self.pipes = set()
        self.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        self.listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        self.listener.bind(ADDRESS)
        self.listener.listen(64)
        loop.watch(self.listener.fileno(), select.POLLIN, self.on_arrival)

    def on_arrival(self, _events):
        try:
            descriptor, _ = self.listener._accept()  # pyright: ignore[reportAttributeAccessIssue]  the C socket's own
        except OSError:
            return  # it has gone again, or descriptors are short
        accepted = socket(fileno=descriptor)
        if len(self.pipes) >= MAX_CONNECTIONS:
            accepted.close()
            return
        EgressPipe(self.loop, accepted, self.pipes)

    def close(self):
        for pipe in list(self.pipes):
            pipe.close()
