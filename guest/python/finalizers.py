"""Finalizers of objects of the session, which weakref knows, also where no variable does."""

import sys

from by_name import CannotKeep
from library_state import is_of_session

NAME = "weakref:finalize.alive"
OTHERS = "weakref:finalize.of other objects"
NAMES = frozenset((NAME, OTHERS))
PLACES = frozenset(("weakref:finalize.",))
USERS = frozenset(("finalize", "weakref"))


def may_use(names, _namespace):
    return not names.isdisjoint(USERS) and "weakref" in sys.modules


def found(namespace):
    """Those of variables that have not been called yet, and that there are others; nothing when there is none."""
    if "weakref" not in sys.modules:
        return {}
    alive = [finalizer for finalizer in list(sys.modules["weakref"].finalize._registry) if _is_of_session(finalizer)]
    held = set(map(id, namespace.values()))
    ours = [finalizer for finalizer in alive if id((finalizer.peek() or (None,))[0]) in held]
    others = {OTHERS: OfOthers()} if len(ours) < len(alive) else {}
    return {**({NAME: ours} if ours else {}), **others}


class OfOthers:
    """Restored, they would be called at once: nothing else may hold what they are of."""

    def __reduce__(self):
        raise CannotKeep("only finalizers of objects that are variables can be kept")


def _is_of_session(finalizer):
    parts = finalizer.peek()
    return parts is not None and (is_of_session(parts[0]) or is_of_session(parts[1]))


def put(_name, _module, _finalizers):
    """Loading one has told weakref of it."""
