"""Settings of the interpreter itself: limits, the mask of new files' modes, filters of warnings."""

import _signal
import posix
import sys
import warnings
from _operator import is_

from unkept import attempt, is_plain

TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)
_encoded_before = ([], [], {})  # filters, how they are encoded, and which cannot be kept


def get_interpreter(unkept):
    if any(first for first, _ in map(_signal.getitimer, TIMERS)):
        unkept["signal: a timer"] = "a timer that runs is not kept"
    if sys.gettrace() is not None or sys.getprofile() is not None:
        unkept["sys: settrace"] = "it is a part of the program"
    mask = posix.umask(0o077)
    posix.umask(mask)
    return {
        "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "switching": sys.getswitchinterval(),
        "umask": mask,
        "warnings": _encoded_filters(unkept),
    }


def put_interpreter(state):
    with attempt("recursion limit"):
        sys.setrecursionlimit(state["recursion"])
    sys.set_int_max_str_digits(state["digits"])
    sys.setswitchinterval(state["switching"])
    posix.umask(state["umask"])
    decoded = []
    for entry in state["warnings"]:
        with attempt(f"warnings: filter of {entry[2][1]}"):
            decoded.append(_decoded_filter(entry))
    keep_filters(decoded)


def filters() -> list[tuple]:
    return list(warnings.filters)


def keep_filters(wanted):
    """An import may have added its own, which had their place in the list already."""
    if warnings.filters != wanted:
        vars(warnings)["filters"][:] = wanted
        vars(warnings)["_filters_mutated"]()


def _encoded_filters(unkept):
    """They seldom change, and are asked for with each save. Tuples do not change in themselves."""
    global _encoded_before
    current = filters()
    before, encoded, named = _encoded_before
    if len(current) != len(before) or not all(map(is_, current, before)):
        encoded, named = _encode(current)
        if all(type(entry) is tuple for entry in current):
            _encoded_before = current, encoded, named
    unkept.update(named)
    return encoded


def _encode(current):
    encoded, named = [], {}
    for entry in current:
        try:
            action, message, category, module, line = entry
            names = category.__module__, category.__qualname__
            plain = (action, _encoded_pattern(message), names, _encoded_pattern(module), line)
        except Exception:
            plain, names = None, None  # the program has put there what it likes
        if plain is None or names is None or not is_plain(plain) or names[0] == "__main__":
            named[f"warnings: filter of {names and names[1]}"] = "it is a part of the program"
        else:
            encoded.append(plain)
    return encoded, named


def _encoded_pattern(pattern):
    return pattern if type(pattern) in (str, type(None)) else (pattern.pattern, pattern.flags)


def _decoded_filter(entry):
    action, message, (module, names), source, line = entry
    __import__(module)
    category = sys.modules[module]
    for name in names.split("."):
        category = getattr(category, name)
    return action, _pattern(message), category, _pattern(source), line


def _pattern(encoded):
    if type(encoded) is not tuple:
        return encoded
    import re

    return re.compile(*encoded)
