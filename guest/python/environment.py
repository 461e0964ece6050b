"""The process environment: each run starts from the sandbox's own variables plus those sent with the run."""

import os
import posix
from time import tzname

_real_putenv, _real_unsetenv = posix.putenv, posix.unsetenv
_touched = set()
ZONE_AT_START = tzname


def fsencode(text):
    """As os.fsencode, which a program can break by replacing builtins."""
    return text if type(text) is bytes else text.encode("utf-8", "surrogateescape")


def _putenv(name, value):
    _touched.add(fsencode(name))
    return _real_putenv(name, value)


def _unsetenv(name):
    _touched.add(fsencode(name))
    return _real_unsetenv(name)


def track():
    """Notes which variables programs change, also by the calls below os.environ."""
    for module in (posix, os):
        module.__dict__.update(putenv=_putenv, unsetenv=_unsetenv)


class Environment:
    def __init__(self):
        self._base = {fsencode(name): fsencode(value) for name, value in posix.environ.items()}
        self._overlaid = set()

    def reset(self, overlay):
        """Makes the environment exactly the base plus `overlay` (text to text)."""
        wanted = {**self._base, **{fsencode(name): fsencode(value) for name, value in overlay.items()}}
        current = self._current()
        for name in _touched | self._overlaid | (current.keys() - wanted.keys()):
            if name not in wanted:
                _real_unsetenv(name)
        for name, value in wanted.items():
            if current.get(name) != value or name in _touched:
                _real_putenv(name, value)
        current.clear()
        current.update(wanted)
        self._overlaid = wanted.keys() - self._base.keys()
        _touched.clear()

    @staticmethod
    def _current():
        """The mapping behind os.environ, in place, so that references to it stay good."""
        data = getattr(os.environ, "_data", None)
        if type(os.environ) is not _Environ or type(data) is not dict:
            os.environ = _ENVIRON
            data = _DATA
        return data


_ENVIRON, _Environ = os.environ, type(os.environ)
_DATA: dict[bytes, bytes] = vars(os.environ)["_data"]
