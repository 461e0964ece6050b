"""What modules of the workspace hold, beside what importing them makes again: their data, that of their classes, and of
their functions."""

import sys
from _sha2 import sha256

from by_name import Function, is_class, is_importable, name_of_module
from library_state import class_dict, origin_of
from reductions import Module
from workspace_modules import file_of

# Kinds of what a class has that is no data of it.
OF_CLASSES = (
    Function,
    classmethod,
    staticmethod,
    property,
    type(Function.__code__),
    type(Function.__globals__),
    type(len),
)
CLOSURE = "__closure__"
EMPTY = "_era_rebuild.EMPTY"
ATOMS = frozenset((str, int, float, complex, bool, bytes, type(None)))


def data_of(module):
    """(attribute, value) of each; an attribute of a class or function is `name.attribute`."""
    if type(module) is not Module:
        return
    for name, value in list(vars(module).items()):
        if _is_of_python(name) or type(value) is Module:
            continue
        is_made = (type(value) is Function or is_class(value)) and is_importable(value)
        if not is_made:
            yield name, value
        elif value.__module__ == name_of_module(module):
            yield from _of_function(name, value) if type(value) is Function else _of_class(name, value)


def _of_function(name, function):
    for attribute, value in function.__dict__.items():
        if attribute != "__wrapped__":
            yield f"{name}.{attribute}", value
    if (contents := closure_of(function)) and not all(type(item) is Function or is_class(item) for item in contents):
        yield f"{name}.{CLOSURE}", contents
    for attribute in ("__defaults__", "__kwdefaults__"):
        value = getattr(function, attribute)
        items = value.values() if type(value) is dict else value or ()
        if not all(type(item) in ATOMS for item in items):
            yield f"{name}.{attribute}", value


def closure_of(function):
    """What its cells hold, such as the state of a decorator."""
    return [_contents(cell) for cell in function.__closure__ or ()]


def _contents(cell):
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY


def put_closure(function, contents):
    for cell, item in zip(function.__closure__ or (), contents, strict=False):
        if type(item) is not str or item != EMPTY:
            cell.cell_contents = item


def _of_class(name, kind):
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(kind, enum.Enum):
        return
    for attribute, value in list(class_dict(kind).items()):
        if _is_of_python(attribute) or attribute == "_abc_impl" or type(value) in OF_CLASSES:
            continue
        if is_class(value) and is_importable(value) and value.__qualname__ == f"{kind.__qualname__}.{attribute}":
            yield from _of_class(f"{name}.{attribute}", value)
        else:
            yield f"{name}.{attribute}", value


def _is_of_python(name):
    return name.startswith("__") and name.endswith("__")


def digest_of(module):
    """What tells the text of its file from another: what was saved is put back into a module of the same text only."""
    try:
        with open(file_of(module) or "", "rb") as file:
            return sha256(file.read()).hexdigest()
    except OSError:
        return None


def is_of(value, modules):
    """Whether a value is one of these modules, is defined in one, or is of a class of one."""
    return (name_of_module(value) if type(value) is Module else origin_of(value)) in modules
