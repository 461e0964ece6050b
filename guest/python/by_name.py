"""What is pickled by its name, since an imported module has it; and the names that programs look up."""

import sys

IS_IMMUTABLE, IS_MADE_AT_RUN_TIME = 1 << 8, 1 << 9  # Py_TPFLAGS_IMMUTABLETYPE, Py_TPFLAGS_HEAPTYPE
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


def _is_made_in_c(kind):
    return type.__getattribute__(kind, "__flags__") & (IS_IMMUTABLE | IS_MADE_AT_RUN_TIME) != IS_MADE_AT_RUN_TIME


def name_of_module(module):
    """Programs may take it away, or put anything there: "" for what is no name."""
    name = vars(module).get("__name__")
    return name if type(name) is str else ""


def is_class(value):
    return issubclass(type(value), type)


def _attribute_of(value, name):
    """Calls nothing of the session's: its metaclasses may have any ways."""
    try:
        return type.__getattribute__(value, name) if is_class(value) else getattr(value, name, None)
    except AttributeError:
        return None


def is_importable(value):
    """Whether a class or function can be found under its name in an imported module."""
    name = _attribute_of(value, "__module__")
    if name == "__main__" or name == "_era_rebuild" or type(name) is not str:
        return name == "_era_rebuild"
    found = sys.modules.get(name)
    if found is None and is_class(value) and _is_made_in_c(value):
        found = import_unhidden(name)  # such a class may be there before the module that it names
    for part in (_attribute_of(value, "__qualname__") or "<locals>").split("."):
        found = _attribute_of(found, part)
    return found is value
