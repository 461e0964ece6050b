"""
The agent's line to its server: dialled at the start, and again when it breaks, until somebody answers or time is up.
"""

import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

from wire import encode_frame, take_frame

SOCKET_PATH = "/run/era/agent.sock"
READ_BYTES = 1 << 15
REDIAL_SECONDS = 0.05
HURRIED_REDIAL_SECONDS = 0.003


class Line:
    def __init__(self):
        self.socket: socket | None = None
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.token = None  # told by the server that started this sandbox: proves to another that it is the same agent
        self.orphan_seconds = 0.0
        self.gives_up_at = None  # while nobody is there
        self.dials_at = 0.0
        self.hurries_until = 0.0  # while a server is about to come

    def dial(self):
        """Raises OSError when nobody listens."""
        now = time.monotonic()
        self.dials_at = now + (HURRIED_REDIAL_SECONDS if now < self.hurries_until else REDIAL_SECONDS)
        connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            connection.connect(SOCKET_PATH)
        except OSError:
            connection.close()
            raise
        connection.setblocking(False)
        self.socket = connection

    def hang_up(self):
        """Begins the time in which another server may come."""
        if self.socket is not None:
            self.socket.close()
        self.socket = None
        self.incoming.clear()
        self.outgoing.clear()
        if self.gives_up_at is None:
            self.gives_up_at = time.monotonic() + self.orphan_seconds

    def welcomed(self, header):
        self.token = header["token"]
        self.orphan_seconds = header["orphan_ms"] / 1000
        self.gives_up_at = None

    def receive(self):
        """Frames that have come. Raises EOFError when the line is broken."""
        if self.socket is None:
            raise EOFError
        try:
            chunk = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as cause:
            raise EOFError from cause
        if not chunk:
            raise EOFError
        self.incoming += chunk
        while self.socket is not None and (frame := take_frame(self.incoming)) is not None:
            yield frame

    def put(self, frame):
        if self.socket is not None:
            self.outgoing += frame

    def flush(self):
        """Sends what the socket takes. Raises EOFError when the line is broken."""
        try:
            while self.socket is not None and self.outgoing:
                del self.outgoing[: self.socket.send(self.outgoing[:READ_BYTES])]
        except BlockingIOError:
            pass
        except OSError as cause:
            raise EOFError from cause

    def say_last(self, header):
        """Before the agent ends for a fault of its own."""
        if self.socket is not None:
            self.socket.setblocking(True)
            self.socket.sendall(bytes(self.outgoing) + encode_frame(header))
