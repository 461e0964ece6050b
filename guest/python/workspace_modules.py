"""Modules imported from the workspace: forgotten when their file changed, so that the next import runs the new text."""

import sys
from posix import stat, write

WORKSPACE = "/workspace/"


class WorkspaceModules:
    def __init__(self):
        self._signatures = {}

    def note(self):
        """After a run: remembers what each workspace module's file looked like."""
        known = self._signatures
        for name, module in list(sys.modules.items()):
            if name not in known and (path := file_of(module)):
                known[name] = (path, _signature(path))

    def known(self):
        """(name, signature of its file) of each that is imported."""
        return [(name, signature) for name, (_, signature) in self._signatures.items()]

    def refresh(self, namespace):
        """
        Before a run: re-imports under their names in the session the modules whose files changed, and their users.
        """
        finder = sys.path_importer_cache
        for entry in list(finder):
            if (entry + "/").startswith(WORKSPACE) and (
                forget := getattr(finder[entry], "invalidate_caches", None)
            ) is not None:
                forget()
        changed = {name for name, (path, seen) in self._signatures.items() if _signature(path) != seen}
        if changed:
            self._forget(_with_users(changed, self._signatures), namespace)

    def _forget(self, names, namespace):
        stale = {}
        for name in names:
            self._signatures.pop(name, None)
            module = sys.modules.pop(name, None)
            if module is not None:
                stale[id(module)] = (name, module)
        for variable, value in list(namespace.items()):
            if id(value) in stale:
                self._import_again(variable, stale[id(value)], namespace)

    @staticmethod
    def _import_again(variable, stale, namespace):
        name, module = stale
        try:
            __import__(name)
            namespace[variable] = sys.modules[name]
        except BaseException as error:
            sys.modules.setdefault(name, module)
            if isinstance(error, KeyboardInterrupt):
                raise  # the run's time is over
            text = f"{name} changed but cannot be imported again, its earlier version stays: {type(error).__name__}\n"
            write(2, text.encode(errors="backslashreplace"))


def file_of(module):
    """Its file, where that is in the workspace; else None."""
    try:
        path = getattr(module, "__file__", None)
    except Exception:
        return None  # something of the program's own in place of a module
    return path if type(path) is str and path.startswith(WORKSPACE) else None


def _signature(path):
    try:
        info = stat(path)
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size


def _with_users(changed, known):
    """The changed modules and, transitively, the workspace modules that took something from them."""
    names = set(changed)
    while True:
        users = {name for name in known if name not in names and _takes_from(sys.modules.get(name), names)}
        if not users:
            return names
        names |= users


def _takes_from(module, names):
    for value in list(getattr(module, "__dict__", {}).values()):
        try:
            origin = value.__name__ if isinstance(value, type(sys)) else getattr(value, "__module__", None)
        except Exception:
            continue  # an object that does not like to be looked at
        if type(origin) is str and origin in names:
            return True
    return False
