"""Acts on a module right after it was imported: importing it only for that would cost every start and every wake."""

import sys
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader


def after_import(name, act):
    """Calls `act` with the module of that name, if it is there, and each time that it has been imported."""
    if name in sys.modules:
        act(sys.modules[name])
    watcher = next((finder for finder in sys.meta_path if isinstance(finder, _Watcher) and finder.name == name), None)
    if watcher is None:
        watcher = _Watcher(name)
        sys.meta_path.insert(0, watcher)
    watcher.acts.append(act)


class _Watcher:
    """Sits in front of the import system: whoever only asks where the module is changes nothing. One for each name."""

    def __init__(self, name):
        self.name = name
        self.acts = []

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None and (spec := find(name, path, target)) is not None:
                if isinstance(spec.loader, (SourceFileLoader, ExtensionFileLoader)):
                    self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader):
        execute = loader.exec_module

        def exec_module(module):
            execute(module)
            for act in self.acts:
                try:
                    act(module)
                except Exception:
                    continue  # a module of the program's own that has its name

        loader.exec_module = exec_module
