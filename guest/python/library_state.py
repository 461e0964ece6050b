"""Attributes of modules and classes of libraries that are a program's own, and classes that it has registered there.

An attribute is the program's when its code stores under that name (stored_names.py), and it is not what the library
itself has there.
"""

import sys

from by_name import Function, global_names, is_class, is_importable, name_of_module
from reductions import Module
from stored_names import DELETED, STORED
from workspace_modules import file_of

GONE = "_era_outside.DELETED"  # stands for an attribute that a program has deleted
REGISTERED = "register()"
OF_THE_KERNEL = "/opt/era/"
# What the kernel itself sets for each run, or what is saved in another way.
NOT_KEPT = {
    "sys": {"stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "path", "modules", "meta_path"},
    "os": {"environ", "putenv", "unsetenv"},
    "posix": {"putenv", "unsetenv"},
    "builtins": {"display", "get_ipython", "exit", "quit", "help"},
}
OF_THE_INTERPRETER = (type(len), type(list.append), type(int.__add__), type(int.real), type(dict.__dict__["fromkeys"]))
DATA = (str, bytes, int, float, complex, bool, type(None), list, tuple, dict, set, frozenset)
Member = type(Function.__globals__)
class_dict = type.__dict__["__dict__"].__get__
_module_of_class = type.__dict__["__module__"].__get__


def set_attributes(owners, stored, builtins):
    """
    Name -> value of each attribute of the owners that is a program's; `builtins`: those that it sees, which may not be
    those of this moment.
    """
    found = {}
    for place, owner in owners.items():
        scope = builtins if place == "builtins:" else scope_of(owner)
        excluded = NOT_KEPT.get(place[:-1], ())
        for name, how in stored.items():
            if name not in scope or name in excluded or _is_of_library(name, scope[name], owner):
                continue
            if how & STORED or is_of_session(scope[name]) or not _may_be_at_first(owner, name):
                found[place + name] = scope[name]
        if "register" in stored and "_abc_impl" in scope and (classes := registered_with(owner)):
            found[place + REGISTERED] = classes
    return found


def deleted_attributes(owners, stored):
    """Names of attributes that the owners have no more, though their modules' own text gives them one."""
    names = {name for name, how in stored.items() if how & DELETED}
    if not names:
        return set()
    return {
        place + name
        for place, owner in owners.items()
        for name in names.difference(scope_of(owner)) & _names_at_first(owner)
    }


def _may_be_at_first(owner, name):
    """Whether the owner may have begun with that: what was not written in Python tells nothing."""
    names = _names_at_first(owner)
    return not names or name in names


_names_of = {}  # by the names of modules: their texts do not change


def _names_at_first(owner):
    """What the text of its module names: all that a module or class of it can have begun with."""
    module = owner if type(owner) is Module else sys.modules[owner.__module__]
    name = name_of_module(module)
    if name not in _names_of:
        _names_of[name] = _names_in_text(module, name)
    return _names_of[name]


def _names_in_text(module, name):
    get_code = getattr(getattr(getattr(module, "__spec__", None), "loader", None), "get_code", None)
    try:
        code = None if get_code is None else get_code(name)
    except Exception:
        code = None
    return set() if code is None else global_names(code)  # what was not written in Python has none


def reachable(names, namespace):
    """Modules and classes of libraries, by the names of their places, that a program can reach by these names."""
    found, seen = {}, set()
    pending = [namespace[name] for name in names if name in namespace]
    pending += [sys.modules[name] for name in names if name in sys.modules]
    while pending:
        owner = pending.pop()
        if id(owner) in seen or (place := place_of(owner)) is None:
            continue
        seen.add(id(owner))
        found[place] = owner
        scope = scope_of(owner)
        pending += [scope[name] for name in names if name in scope]
    return found


def place_of(owner):
    """The name of a module or class of a library, `module:` or `module:Class.`; None for anything else."""
    if type(owner) is Module:
        name = name_of_module(owner)
        is_there = sys.modules.get(name) is owner and name != "__main__"
        return f"{name}:" if is_there and _is_library(owner) else None
    if not is_class(owner) or not is_importable(owner) or not _is_library(sys.modules.get(owner.__module__)):
        return None
    return f"{owner.__module__}:{owner.__qualname__}."


def _is_library(module):
    path = getattr(module, "__file__", None)
    return file_of(module) is None and not (type(path) is str and path.startswith(OF_THE_KERNEL))


def scope_of(owner):
    return vars(owner) if type(owner) is Module else class_dict(owner)


def origin_of(value):
    """The name of the module that defines a function, a class, or the class of any other value; "" for none."""
    if type(value) is Function:
        origin = value.__module__
    else:
        origin = _module_of_class(value if is_class(value) else type(value))
    return origin if type(origin) is str else ""


def root_of(name):
    return name.replace(":", ".").partition(".")[0]


def _is_of_library(name, value, owner):
    """Whether a library itself has put a value in its place, as far as that can be told."""
    kind = type(value)
    if kind in (classmethod, staticmethod, property):
        return not is_of_session(value.fget if kind is property else value.__func__)
    if kind is Module:
        return name_of_module(value).rpartition(".")[2] == name
    if kind in OF_THE_INTERPRETER or kind is Member:
        return value.__name__ == name
    if kind in DATA or is_of_session(value):
        return False
    if is_class(value) or kind is Function:
        return root_of(origin_of(value)) == root_of(place_of(owner) or "")
    return name in _names_at_first(owner)


def registered_with(owner):
    """Classes of the session that are registered with an abstract base class of a library."""
    found = (reference() for reference in sys.modules["_abc"]._get_dump(owner)[0])
    return [kind for kind in found if kind is not None and is_of_session(kind)]


def is_of_session(value):
    origin = origin_of(value)
    return origin == "__main__" or file_of(sys.modules.get(origin)) is not None


def put(owner, name, value):
    """Sets an attribute as it was saved."""
    if name == REGISTERED:
        for kind in value:
            owner.register(kind)
    elif type(value) is not str or value != GONE:
        setattr(owner, name, value)
    elif name in scope_of(owner):
        delattr(owner, name)
