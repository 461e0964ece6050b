"""Handlers of signals that a program has set, between runs: what one of them raises there is told, and ends nothing."""

import _signal

import streams

SIGNALS = tuple(_signal.valid_signals())


class Quiet:
    """A handler of the program's, whose exceptions go no further."""

    def __init__(self, handler):
        self.handler = handler

    def __call__(self, number, frame):
        try:
            self.handler(number, frame)
        except BaseException as error:
            text = f"The handler of signal {number} has failed, between two runs: {type(error).__name__}: {error}\n"
            streams.print_error(text)


def own_handler(handler):
    """The one that the program has set."""
    return handler.handler if type(handler) is Quiet else handler


class Handlers:
    """A context for what the program itself does: only there are its handlers as it has set them."""

    def __init__(self):
        self._quiet = {}  # signal -> Quiet

    def __enter__(self):
        self.resume()

    def __exit__(self, *_error):
        # What comes meanwhile waits: a handler that is not quiet yet must not raise in the kernel.
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)
        try:
            self._rest()
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)

    def resume(self):
        quiet, self._quiet = self._quiet, {}
        for number, handler in quiet.items():
            if _signal.getsignal(number) is handler:
                _signal.signal(number, handler.handler)

    def _rest(self):
        for number in SIGNALS:
            handler = _signal.getsignal(number)
            if callable(handler) and type(handler) is not Quiet and number != _signal.SIGINT:
                self._quiet[number] = Quiet(handler)
                _signal.signal(number, self._quiet[number])
