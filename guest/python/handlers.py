"""Handlers of signals that a program has set, between runs: what one of them raises there is told, and ends nothing."""

import _signal

import streams

SIGNALS = tuple(_signal.valid_signals())


class Held:
    """Signals that come meanwhile wait for the end of it: there, a handler may raise."""

    def __enter__(self):
        self._before = _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)

    def __exit__(self, *_error):
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)


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
    """The program's own, while it runs; quiet ones between runs."""

    def __init__(self):
        self._quiet = {}  # signal -> Quiet

    def resume(self):
        """May raise what a handler raises, as any line of the program may from now on."""
        with Held():
            quiet, self._quiet = self._quiet, {}
            for number, handler in quiet.items():
                if _signal.getsignal(number) is handler:
                    _signal.signal(number, handler.handler)

    def rest(self):
        with Held():
            for number in SIGNALS:
                handler = _signal.getsignal(number)
                if callable(handler) and type(handler) is not Quiet and number != _signal.SIGINT:
                    self._quiet[number] = Quiet(handler)
                    _signal.signal(number, self._quiet[number])
