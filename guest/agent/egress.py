"""The way out: programs find a proxy on a port of their own machine, and the agent carries each connection to the server.

What may be reached is the server's to say, on its end of the socket; where there is none, connections are hung up.
"""

import select
from _socket import AF_INET, AF_UNIX, SO_REUSEADDR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket

from relay import Relay, Side

ADDRESS = ("127.0.0.1", 3128)
SOCKET_PATH = "/run/era/egress.sock"
MAX_CONNECTIONS = 128


class EgressRelay(Relay):
    def __init__(self, watcher, accepted, relays):
        super().__init__(watcher)
        self.relays = relays
        self.inner = Side(accepted)
        relays.add(self)
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
        self.relays.discard(self)


class Egress:
    def __init__(self, watcher):
        self.watcher = watcher
        self.relays = set()
        self.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        self.listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        self.listener.bind(ADDRESS)
        self.listener.listen(64)
        watcher.watch(self.listener.fileno(), select.POLLIN, self.on_arrival)

    def on_arrival(self, _events):
        try:
            descriptor, _ = self.listener._accept()
        except OSError:
            return  # it has gone again, or descriptors are short
        accepted = socket(fileno=descriptor)
        if len(self.relays) >= MAX_CONNECTIONS:
            accepted.close()
            return
        EgressRelay(self.watcher, accepted, self.relays)

    def close(self):
        for relay in list(self.relays):
            relay.close()
