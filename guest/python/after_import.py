"""Acts on a module right after its first import: importing it only for that would cost every start and every wake."""

import sys


def after_import(name, act):
    """Calls `act` with the module of that name: now if it is there, else once it has been imported."""
    if name in sys.modules:
        act(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Once(name, act))


class _Once:
    """Sits in front of the import system until its module is asked for."""

    def __init__(self, name, act):
        self._name = name
        self._act = act

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        for finder in list(sys.meta_path):
            if (spec := finder.find_spec(name, path, target)) is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader):
        execute = loader.exec_module

        def exec_module(module):
            del loader.exec_module
            execute(module)
            self._act(module)

        loader.exec_module = exec_module
