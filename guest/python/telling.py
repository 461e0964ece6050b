"""What a kernel says to the agent: whole frames, one after the other, whoever of the program comes in between: threads,
handlers of signals, an interrupt."""

from _collections import deque
from _thread import RLock, get_ident

from handlers import Held
from wire import encode_frame


class Teller:
    def __init__(self, line, requests):
        self._line = line
        self._requests = requests
        self._unsent = deque()
        self._lock = RLock()
        self._is_sending = False
        self._is_showing = False
        self._shown = 0  # values that were displayed, and waited for
        self._thread = get_ident()

    def tell(self, header, payload=b""):
        self._unsent.append(encode_frame(header, payload))
        with self._lock:
            if self._is_sending:
                return  # a handler of a signal, in the middle of it: what it tells goes next
            self._is_sending = True
            try:
                while self._unsent:
                    self._line.sendall(self._unsent.popleft())
            finally:
                self._is_sending = False

    def show(self, run, content):
        """
        What the program prints from now on comes after it, where the kernel's own thread says it. Others do not wait:
        they must not read its line.
        """
        if get_ident() != self._thread or self._is_showing:
            self.tell({"type": "display", "run": run, "number": 0}, content)
            return
        with Held():  # an exception of a handler in here would leave half a frame on the line
            self._is_showing = True
            try:
                self._shown += 1
                self.tell({"type": "display", "run": run, "number": self._shown}, content)
                self._requests.wait_shown(self._shown)
            finally:
                self._is_showing = False
