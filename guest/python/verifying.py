"""Whether what was pickled loads again: tried in the child that saves, once for each kind of object.

A class may be written so that its objects can be taken apart and not be put together. What does not load is named at
once, and alone: others of its group are saved without it.
"""

import _signal
import gc
import posix
from select import POLLIN, poll

from by_name import Function
from library_state import class_dict, origin_of, root_of
from pickling import Unpickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TRIAL_MS = 5_000
LOADS = b"+"
ENDED_BY_OTHERS = (9, 14, 15)  # signals, by which processes of a run are ended, that tell nothing of what was tried
MADE = []  # in the process of a trial, so that nothing of it ends before the process
MAX_REASON = 1_000
MAX_BYTES = 64 << 20  # of a group that is tried: loading it takes the memory once more
# Roots of modules whose kinds are known to load, and methods of a class of the session that can stand in the way of it.
KNOWN_ROOTS = frozenset(
    (
        *("builtins", "types", "typing", "collections", "datetime", "decimal", "fractions", "pathlib", "uuid", "enum"),
        *("re", "_io", "functools", "itertools", "operator", "random", "array", "numpy", "pandas", "zoneinfo"),
        *("weakref", "_weakref", "_weakrefset", "_thread", "_struct", "_contextvars", "_queue", "logging", "abc"),
    )
)
WAYS = frozenset(
    (
        *("__new__", "__setattr__", "__delattr__", "__getattr__", "__getattribute__", "__hash__", "__eq__"),
        *("__setstate__", "__getstate__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__"),
        *("__setitem__", "__len__", "__iter__", "__contains__", "__slots__", "append", "extend", "add", "update"),
    )
)


class Verified:
    """Kinds of objects that have loaded, or that nothing can keep from it."""

    def __init__(self):
        self._keys = set()

    def unknown(self, kinds):
        return [kind for kind in kinds if not _needs_no_trial(kind) and key_of(kind) not in self._keys]

    def add(self, keys):
        self._keys.update(map(tuple, keys))


def _needs_no_trial(kind: "Any"):
    """A kind of a module that is known to load, or a class of the session that only adds methods to `object`."""
    if issubclass(kind, type):
        return kind is type
    if root_of(origin_of(kind)) in KNOWN_ROOTS:
        return True
    return kind.__base__ is object and WAYS.isdisjoint(class_dict(kind))


def is_dangerous(kinds: "Any"):
    """Whether a copy that ends could take what the live object owns with it, such as its file."""
    return any(
        "__del__" in class_dict(base) or kind.__name__ == "finalize" for kind in kinds for base in type.mro(kind)
    )


def key_of(kind):
    """What tells a class from others of this process, also from one that has its address after it."""
    own = class_dict(kind)
    line = own.get("__firstlineno__")
    return id(kind), _name_of_class(kind), line if type(line) is int else 0, len(own), _text_of(own)


_name_of_class = type.__dict__["__qualname__"].__get__


def _text_of(own):
    return next((item.__code__.co_filename for item in own.values() if type(item) is Function), "")


def failure_of(data, find):
    """
    Why data cannot be loaded; None when it can, or when that takes too long to be known. A process of its own tries it:
    what a class does as its objects are rebuilt may end the process, or never end.
    """
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    pid = posix.fork()
    if pid == 0:
        try:
            _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
            _signal.alarm(2 * TRIAL_MS // 1000)  # should nobody be there to end it
            gc.disable()  # what is made lives on until the process ends
            with data as file:
                MADE.append(Unpickler(file, find).load())
            reason = LOADS
        except RecursionError:
            reason = b"it is nested too deeply to be loaded again"
        except BaseException as error:
            MADE.append(error)
            reason = f"it cannot be loaded again: {type(error).__name__}: {error}".encode(errors="backslashreplace")
        posix.write(writer, reason[:MAX_REASON])
        posix._exit(0)
    posix.close(writer)
    said = _read(reader)
    posix.close(reader)
    if said is None:
        posix.kill(pid, 9)
    status = posix.waitpid(pid, 0)[1]
    if said is None or said == LOADS or status & 0x7F in ENDED_BY_OTHERS:
        return None
    return said.decode(errors="replace") or "its process ends as it is loaded again"


def _read(reader):
    """What the process says; None when it takes too long."""
    waiter = poll()
    waiter.register(reader, POLLIN)
    return posix.read(reader, MAX_REASON) if waiter.poll(TRIAL_MS) else None
