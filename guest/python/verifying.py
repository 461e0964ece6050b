"""Whether what was pickled loads again: tried in the child that saves, once for each kind of object.

A class may be written so that its objects can be taken apart and not be put together. What does not load is named at
once, and alone: others of its group are saved without it.
"""

from by_name import Function
from library_state import class_dict, origin_of, root_of
from pickling import Unpickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
        self._plain = {}  # kind -> whether it needs no trial

    def unknown(self, kinds):
        return [kind for kind in kinds if not self._is_plain(kind) and key_of(kind) not in self._keys]

    def add(self, keys):
        self._keys.update(map(tuple, keys))

    def _is_plain(self, kind):
        if (known := self._plain.get(kind)) is None:
            known = self._plain[kind] = _needs_no_trial(kind)
        return known


def _needs_no_trial(kind: "Any"):
    """A kind of a module that is known to load, or a class of the session that only adds methods to `object`."""
    if issubclass(kind, type):
        return kind is type
    if root_of(origin_of(kind)) in KNOWN_ROOTS:
        return True
    return kind.__base__ is object and WAYS.isdisjoint(class_dict(kind))


def key_of(kind):
    """What tells a class from others of this process, also from one that has its address after it."""
    own = class_dict(kind)
    return id(kind), kind.__qualname__, own.get("__firstlineno__", 0), len(own), _text_of(own)


def _text_of(own):
    return next((item.__code__.co_filename for item in own.values() if type(item) is Function), "")


def failure_of(data, find):
    """Why data cannot be loaded; None when it can."""
    try:
        with data as file:
            Unpickler(file, find).load()
    except RecursionError:
        return "it is nested too deeply to be loaded again"
    except Exception as error:
        return f"it cannot be loaded again: {type(error).__name__}: {error}"
    return None
