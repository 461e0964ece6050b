"""The standard streams of a run: what a program prints is on its way at once, also without a line's end."""

import sys
from _io import FileIO, TextIOWrapper
from _thread import get_ident

# By name, not through os: a program that replaces os.write for its session does not change how the kernel works.
from posix import O_RDONLY, close, dup2, write
from posix import open as open_descriptor


class Descriptor(FileIO):
    """A file on a descriptor of the process; writes go out at once and whole."""

    def __init__(self, number):
        super().__init__(number, "w", closefd=False)

    muted = 0  # the thread that prints nothing now

    def write(self, data):
        if Descriptor.muted and Descriptor.muted == get_ident():
            return len(data)
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            sent += write(self.fileno(), view[sent:])
        return sent


class Muted:
    """
    What a session's modules and classes print as they are saved or restored is nothing that its run has printed. What
    its other threads print meanwhile is.
    """

    def __enter__(self):
        self._before, Descriptor.muted = Descriptor.muted, get_ident()

    def __exit__(self, *_error):
        Descriptor.muted = self._before


def attach(descriptors):
    """
    Makes descriptors, which it closes, standard output and standard error; a third is standard input, which else is
    empty.
    """
    for target, source in zip((1, 2, 0), descriptors, strict=False):
        dup2(source, target, inheritable=True)
        close(source)
    sys.stdout = sys.__stdout__ = _text(1)
    sys.stderr = sys.__stderr__ = _text(2)
    if len(descriptors) > 2:
        sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    elif sys.stdin is None or sys.stdin is not sys.__stdin__ or sys.stdin.closed:
        sys.stdin = sys.__stdin__ = open(open_descriptor("/dev/null", O_RDONLY))


def empty_input():
    """What a run had not read of its standard input is not the next one's."""
    null = open_descriptor("/dev/null", O_RDONLY)
    dup2(null, 0, inheritable=True)
    close(null)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)


def _text(number):
    return TextIOWrapper(Descriptor(number), "utf-8", "backslashreplace", write_through=True)


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # the program put something else there; what it kept back is its own loss


def print_error(text):
    """Straight to the descriptor: the program may have replaced sys.stderr."""
    try:
        Descriptor(2).write(text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # the program closed it; the text is in the answer too
