"""What of the interpreter around the variables belongs to a session's state: its working directory, additions to
sys.path, and the global random generators."""

import posix
import sys

GENERATORS = ("random", "numpy.random")


def capture(first_path):
    """The surroundings, picklable; `first_path` is what sys.path began with."""
    return {
        "directory": _directory(),
        "path": [entry for entry in sys.path if entry not in first_path and type(entry) is str],
        "generators": {name: _GET[name](sys.modules[name]) for name in GENERATORS if name in sys.modules},
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


def restore(state, first_path, keep_generators):
    """Puts them back; a copy of a session does not `keep_generators`: it must not draw the original's numbers."""
    try:
        posix.chdir(state["directory"])
    except OSError:
        posix.chdir("/workspace")
    sys.path[:] = [entry for entry in sys.path if entry in first_path]
    sys.path += [entry for entry in state["path"] if entry not in sys.path]
    pending = dict(state["generators"]) if keep_generators else {}
    for name in list(pending):
        if name in sys.modules:
            _SET[name](sys.modules[name], pending.pop(name))
    if pending:
        sys.meta_path.insert(0, StateOnImport(pending))


def reseed():
    """This process is a copy of another one."""
    for name in GENERATORS:
        if name in sys.modules:
            sys.modules[name].seed()


class StateOnImport:
    """Puts a saved state into a module right after its first import: importing it only for that would cost every wake."""

    def __init__(self, pending):
        self._pending = pending

    def find_spec(self, name, path=None, target=None):
        if name not in self._pending:
            return None
        state = self._pending.pop(name)
        if not self._pending:
            sys.meta_path.remove(self)
        for finder in list(sys.meta_path):
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                _after_loading(spec, lambda module: _SET[name](module, state))
                return spec
        return None


def _after_loading(spec, act):
    loader, execute = spec.loader, spec.loader.exec_module

    def exec_module(module):
        del loader.exec_module
        execute(module)
        act(module)

    loader.exec_module = exec_module

