"""Finalizers of objects of the session, which weakref knows, also where no variable does."""

import sys

from library_state import is_of_session

NAME = "weakref:finalize.alive"
NAMES = frozenset((NAME,))
PLACES = frozenset(("weakref:finalize.",))
USERS = frozenset(("finalize", "weakref"))


def may_use(names, _namespace):
    return not names.isdisjoint(USERS) and "weakref" in sys.modules


def found():
    """Under their name, those that have not been called yet; nothing when there is none."""
    if "weakref" not in sys.modules:
        return {}
    alive = [finalizer for finalizer in list(sys.modules["weakref"].finalize._registry) if _is_of_session(finalizer)]
    return {NAME: alive} if alive else {}


def _is_of_session(finalizer):
    parts = finalizer.peek()
    return parts is not None and (is_of_session(parts[0]) or is_of_session(parts[1]))


def put(_name, _module, _finalizers):
    """Loading one has told weakref of it."""
