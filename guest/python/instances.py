"""How an object of a class of the session is rebuilt where pickle's own way would call what the class wrote, too early.

Pickle makes an object by `__new__`, fills containers by `append` or `__setitem__` before their attributes are there, sets
what is in slots by `__setattr__`, and hashes the members of a set while they are still empty, where they lead in a circle.
"""

import sys
from _collections import OrderedDict, defaultdict, deque
from _operator import eq

from by_name import Function, rebuild

# The first that a class has among its bases is the one that makes it.
CONTAINERS = (OrderedDict, defaultdict, dict, list, set, deque)
VALUES = (tuple, str, bytes, int, float, complex, frozenset)
FILLERS = frozenset(("__new__", "__init__", "__setitem__", "append", "extend", "add", "update", "__iter__", "items", "popitem"))
OWN_WAYS = frozenset(("__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__", "__setstate__", "__getstate__"))
ATOMS = frozenset((str, int, float, bool, bytes, complex, type(None)))
MAX_EARLY = 100


def plan(kind):
    """What reduces the objects of a class, as a function of the object; None where pickle's own way will do."""
    own = {name for base in kind.__mro__ if _is_of_session(base) for name in vars(base)}
    if not own or own & OWN_WAYS or kind in sys.modules["copyreg"].dispatch_table:
        return None
    base = next((base for base in (*CONTAINERS, *VALUES) if issubclass(kind, base)), object)
    if base in CONTAINERS:
        return _container(base) if own & FILLERS else None
    if (numpy := sys.modules.get("numpy")) is not None and issubclass(kind, numpy.ndarray):
        return _array
    if kind.__reduce__ is not getattr(base, "__reduce__") or kind.__reduce_ex__ is not object.__reduce_ex__:
        return None
    if base in VALUES:
        return _of_value(base) if "__new__" in own else None
    hashes = "__hash__" in own and kind.__hash__ not in (None, object.__hash__)
    return _plain if hashes or "__new__" in own or ("__setattr__" in own and "__slots__" in own) else None


def _is_of_session(kind):
    """Of its programs or modules; what a named tuple is made with is not counted as written there."""
    module = sys.modules.get(kind.__module__)
    path = getattr(module, "__file__", None)
    is_own = kind.__module__ == "__main__" or type(path) is str and path.startswith("/workspace/")
    return is_own and "_field_defaults" not in vars(kind)


def _container(base):
    def reduce(value):
        attributes = object.__getstate__(value)
        if issubclass(base, dict):
            extra = value.default_factory if base is defaultdict else None
            state = (attributes, base, list(base.items(value)), extra)
        else:
            state = (attributes, base, list(base.__iter__(value)), value.maxlen if base is deque else None)
        return rebuild("instance"), (type(value), (), None), state, None, None, rebuild("fill_container")

    return reduce


def _of_value(base):
    def reduce(value):
        new = (list(frozenset.__iter__(value)),) if base is frozenset else base.__getnewargs__(value)
        state = object.__getstate__(value)
        return rebuild("instance"), (type(value), new, None), state or None, None, None, rebuild("fill_object")

    return reduce


def _array(value):
    """An array's own way leaves out what its class has set on it."""
    make, arguments, *state = value.__reduce_ex__(5)
    return make, arguments, (state[0] if state else None, vars(value)), None, None, rebuild("fill_array")


def _plain(value):
    state = object.__getstate__(value)
    attributes, slots = state if type(state) is tuple else (state, None)
    early = (_early(attributes), _early(slots))
    if early == (attributes, slots):
        return rebuild("instance"), (type(value), (), early)
    made = rebuild("instance"), (type(value), (), early), state
    if slots is None and early[0] and all(map(eq, early[0], attributes)):
        return made  # pickle's own way, which is quicker, keeps their order
    return *made, None, None, rebuild("fill_object")


def _early(attributes):
    if not attributes or len(attributes) > MAX_EARLY:
        return None
    return {name: item for name, item in attributes.items() if type(item) in ATOMS or _is_atomic(item)}


def _is_atomic(value, depth=3):
    """Whether it leads to nothing that could lead back."""
    kind = type(value)
    return kind in ATOMS or kind is tuple and depth > 0 and len(value) <= MAX_EARLY and all(_is_atomic(item, depth - 1) for item in value)


def early_methods(attributes):
    """Of a class that may know its own objects: by these they are found in sets, before the class has all that it has."""
    return {
        name: item
        for name in ("__hash__", "__eq__")
        if type(item := attributes.get(name)) is Function and item.__closure__ is None and not item.__dict__
    }
