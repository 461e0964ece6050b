"""What is pickled by its name, since an imported module has it; and the names that programs look up."""

import sys

IS_MADE_AT_RUN_TIME = 1 << 9  # Py_TPFLAGS_HEAPTYPE
Function, Code = type(lambda: 0), type((lambda: 0).__code__)


class NeedsChild(Exception):
    """This value must be pickled in a forked child: doing so may run code of the session, or takes long."""


class CannotKeep(Exception):
    """This value has no saved form; the message says why."""


def import_unhidden(name):
    """Imports a module of the image, also where the workspace has a file of that name."""
    if name not in sys.modules:
        path, sys.path[:] = sys.path[:], [entry for entry in sys.path if not entry.startswith("/workspace")]
        try:
            __import__(name)
        finally:
            sys.path[:] = path
    return sys.modules[name]


_rebuilders = {}


def rebuild(name):
    if name not in _rebuilders:
        _rebuilders[name] = getattr(import_unhidden("_era_rebuild"), name)
    return _rebuilders[name]


def global_names(code):
    """Names that a code object looks up as globals or attributes, in it and in all code inside it."""
    names, pending = set(), [code]
    while pending:
        part = pending.pop()
        names.update(part.co_names)
        pending += [constant for constant in part.co_consts if type(constant) is Code]
    return names


def is_importable(value):
    """Whether a class or function can be found under its name in an imported module."""
    name = getattr(value, "__module__", None)
    if name == "__main__" or name == "_era_rebuild" or type(name) is not str:
        return name == "_era_rebuild"
    found = sys.modules.get(name)
    if found is None and isinstance(value, type) and not value.__flags__ & IS_MADE_AT_RUN_TIME:
        found = import_unhidden(name)  # of the interpreter's own, which are there before their modules
    for part in getattr(value, "__qualname__", "<locals>").split("."):
        found = getattr(found, part, None)
    return found is value
