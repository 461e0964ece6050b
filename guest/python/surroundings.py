"""What of the interpreter around the variables belongs to a session's state: its working directory, additions to sys.path,
the global random generators, which submodules were imported, and the handlers of signals."""

import _signal
import posix
import sys

from after_import import after_import

GENERATORS = ("random", "numpy.random")
_waiting = {}  # states of generators whose modules this process has not imported


def capture(kernel):
    """The surroundings, picklable. In the process of the session itself: a fork seeds its generator anew."""
    first_path = kernel.first_path
    return {
        "directory": _directory(),
        "submodules": [name for name in kernel.submodules if name in sys.modules or name in kernel.waiting_submodules()],
        "handlers": _handlers(kernel),
        "path": [entry for entry in sys.path if entry not in first_path and type(entry) is str],
        "generators": {**_waiting, **{name: _GET[name](sys.modules[name]) for name in GENERATORS if name in sys.modules}},
    }


def _directory():
    try:
        return posix.getcwd()
    except OSError:
        return "/workspace"


_GET = {
    "random": lambda module: module.getstate(),
    "numpy.random": lambda module: module.get_state(legacy=False),
}
_SET = {
    "random": lambda module, state: module.setstate(state),
    "numpy.random": lambda module, state: module.set_state(state),
}


def _handlers(kernel):
    """Of signals, where a variable is the handler or has it as its method: (number, variable, method or None)."""
    found = []
    for number in range(1, _signal.NSIG):
        handler = _signal.getsignal(number)
        owner, method = getattr(handler, "__self__", None), getattr(handler, "__name__", None)
        if type(handler) is Handler:
            found.append(handler.place)
        elif callable(handler) and owner is not kernel:
            for name, value in kernel.namespace.items():
                if value is handler:
                    found.append((number, name, None))
                elif owner is not None and value is owner:
                    found.append((number, name, method))
                else:
                    continue
                break
    return found


class Handler:
    """Of a signal: calls the variable that was its handler, which may have to be restored for it."""

    def __init__(self, place, find):
        self.place = place
        self._find = find

    def __call__(self, number, frame):
        _, name, method = self.place
        target = self._find(name)
        return (target if method is None else getattr(target, method))(number, frame)


def restore(state, first_path, keep_generators, find):
    """Puts them back; a copy of a session does not `keep_generators`: it must not draw the original's numbers."""
    try:
        posix.chdir(state["directory"])
    except OSError:
        posix.chdir("/workspace")
    sys.path[:] = [entry for entry in sys.path if entry in first_path]
    sys.path += [entry for entry in state["path"] if entry not in sys.path]
    for place in state.get("handlers", ()):
        _signal.signal(place[0], Handler(place, find))
    _waiting.update(state["generators"] if keep_generators else {})
    for name in list(_waiting):
        after_import(name, lambda module, name=name: _SET[name](module, _waiting.pop(name)))


def reseed():
    """This process is a copy of another one."""
    for name in GENERATORS:
        if name in sys.modules:
            sys.modules[name].seed()
