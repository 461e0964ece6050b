"""Which threads of the session run, also for a child that was forked: to it, all but its own have ended."""

import sys

_noted = []


def note():
    """Before a fork."""
    _noted[:] = _running()


def forget():
    """After it, in the parent."""
    _noted.clear()


def has(thread):
    return thread.is_alive() or any(each is thread for each in _noted)


def _running():
    threading = sys.modules.get("threading")
    return [] if threading is None else list(threading._enumerate())
