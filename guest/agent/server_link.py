"""The agent's line to its server: frames in and out, dialling again while nobody is there."""

import select

from wire import encode_frame

PROTOCOL = 7


class ServerLink:
    """
    `agent` is told: on_request(header, payload), on_hang_up(), hello() for what it says first, on_nobody_there(now).
    """

    def __init__(self, loop, line, agent):
        self._loop = loop
        self._agent = agent
        self.line = line
        loop.add_clock(self)

    @property
    def is_up(self):
        return self.line.socket is not None

    def begin(self):
        """Dials for the first time: whoever started this sandbox listens."""
        self.line.dial()
        self._watch()

    def send(self, header, payload=b""):
        self.put(encode_frame(header, payload))

    def put(self, frame):
        if not self.is_up:
            return
        self.line.put(frame)
        try:
            self._flush()
        except EOFError:
            self._agent.on_hang_up()

    def say_hello(self):
        self.send({"type": "hello", "protocol": PROTOCOL, "token": self.line.token, **self._agent.hello()})

    def hang_up(self):
        self._loop.unwatch(self.line.socket.fileno())
        self.line.hang_up()

    def next_at(self):
        return None if self.is_up else self.line.dials_at

    def on_time(self, now):
        if self.is_up:
            return
        self._agent.on_nobody_there(now)
        if now < self.line.dials_at:
            return
        try:
            self.line.dial()
        except OSError:
            return
        self._watch()
        self.say_hello()

    def _watch(self):
        self._loop.watch(self.line.socket.fileno(), select.POLLIN, self._on_line)

    def _on_line(self, events):
        try:
            if events & select.POLLOUT:
                self._flush()
            if events & ~select.POLLOUT:
                for frame in self.line.receive():
                    self._agent.on_request(*frame)
        except EOFError:
            self._agent.on_hang_up()

    def _flush(self):
        self.line.flush()
        events = select.POLLIN | (select.POLLOUT if self.line.outgoing else 0)
        self._loop.change(self.line.socket.fileno(), events)
