"""How an object of a class of the session is rebuilt where pickle's own way would call what the class wrote, too early.

Pickle makes an object by `__new__`. It fills containers by `append` or `__setitem__` before their attributes are there.
It sets what is in slots by `__setattr__`. Members of a set are hashed while they are still empty, where they lead in a
circle.
"""

import sys
from _collections import OrderedDict, defaultdict, deque
from _operator import eq

from by_name import CannotKeep, Function, rebuild
from workspace_modules import file_of

# The first that a class has among its bases is the one that makes it.
CONTAINERS = (OrderedDict, defaultdict, dict, list, set, deque)
VALUES = (tuple, str, bytes, int, float, complex, frozenset)
FILLERS = frozenset(
    ("__new__", "__init__", "__setitem__", "append", "extend", "add", "update", "__iter__", "items", "popitem")
)
OWN_WAYS = frozenset(
    ("__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__", "__setstate__", "__getstate__")
)
ATOMS = frozenset((str, int, float, bool, bytes, complex, type(None)))
MAX_EARLY = 100

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def plan(kind):
    """What reduces the objects of a class, as a function of the object; None where pickle's own way will do."""
    if (own := _plan_of_own(kind)) is not None:
        return own
    return (lambda value: with_attributes(value, value.__reduce_ex__(5))) if needs_attributes(kind) else None


def _plan_of_own(kind):
    own = {name for base in kind.__mro__ if _is_of_session(base) for name in vars(base)}
    if not own or own & OWN_WAYS or kind in sys.modules["copyreg"].dispatch_table:
        return None
    base = next((base for base in (*CONTAINERS, *VALUES) if issubclass(kind, base)), object)
    if base in CONTAINERS:
        return _container(base) if own & FILLERS else None
    if (numpy := sys.modules.get("numpy")) is not None and issubclass(kind, numpy.ndarray):
        return _array
    if kind.__reduce__ is not base.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return None
    if base in VALUES:
        return _of_value(base) if "__new__" in own else None
    if maker_of(kind) is not object or kind.__getstate__ is not object.__getstate__:
        return None  # what it holds is not in its attributes
    if "__new__" in own or ("__setattr__" in own and "__slots__" in own):
        return _plain
    return _hashed if "__hash__" in own and kind.__hash__ not in (None, object.__hash__) else None


def _is_of_session(kind):
    """Whether it is of its programs or modules; what a named tuple is made with is not counted as written there."""
    is_own = kind.__module__ == "__main__" or file_of(sys.modules.get(kind.__module__)) is not None
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


def maker_of(kind):
    return next(base for base in kind.__mro__ if type(vars(base).get("__new__")) is type(len))


def _of_value(base):
    def reduce(value):
        new = (list(frozenset.__iter__(value)),) if base is frozenset else base.__getnewargs__(value)
        return _instance(value, new)

    return reduce


def needs_attributes(kind):
    """Whether what a class of the session sets on its objects may be left out by a base's own way."""
    own = {name for base in kind.__mro__ if _is_of_session(base) for name in vars(base)}
    has_way = kind.__reduce_ex__ is not object.__reduce_ex__ or kind.__reduce__ is not object.__reduce__
    return bool(own) and not own & OWN_WAYS and has_way


def _array(value):
    """An array's own way leaves out what its class has set on it."""
    make, arguments, *state = value.__reduce_ex__(5)
    return make, arguments, (state[0] if state else None, vars(value)), None, None, rebuild("fill_array")


def _plain(value):
    return _instance(value, ())


def _hashed(value):
    """What leads to nothing that could lead back to it goes pickle's own way."""
    reduced = _instance(value, ())
    return reduced if len(reduced) > 2 else NotImplemented


def _state_of(value):
    """Its attributes and what is in its slots, each a dict or None."""
    state: Any = object.__getstate__(value)
    return state if type(state) is tuple else (state, None)


def _instance(value, new):
    """With those attributes early by which it can be hashed while others, which lead back to it, are not there yet.

    Has no state, the third of its parts, when all of them are early.
    """
    attributes, slots = _state_of(value)
    early, early_slots = _closed_of(attributes), _closed_of(slots)
    are_all = len(early or ()) == len(attributes or ()) and len(early_slots or ()) == len(slots or ())
    made = rebuild("instance"), (type(value), new, (early, early_slots) if early or early_slots else None)
    if are_all:
        return made
    if slots is None and all(map(eq, early or (), attributes)):
        return *made, attributes  # pickle's own way, which is quicker, keeps their order
    return *made, (attributes, slots), None, None, rebuild("fill_object")


def _closed_of(attributes):
    if not attributes or len(attributes) > MAX_EARLY:
        return None
    return {name: item for name, item in attributes.items() if _is_closed(item)}


def _is_closed(value, depth=3):
    """Whether it leads to small and simple values alone, and so to nothing that could lead back."""
    kind = type(value)
    if kind in ATOMS:
        return True
    if depth == 0:
        return False
    if kind in (tuple, list, set, frozenset):
        return len(value) <= MAX_EARLY and all(_is_closed(item, depth - 1) for item in value)
    if kind is dict:
        return len(value) <= MAX_EARLY and all(_is_closed(item, depth - 1) for pair in value.items() for item in pair)
    if (enum := sys.modules.get("enum")) is not None and issubclass(kind, enum.Enum):
        return True
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen and all(_is_closed(item, depth - 1) for item in vars_of(value))


def vars_of(value):
    attributes, slots = _state_of(value)
    return [*(attributes or {}).values(), *(slots or {}).values()]


def with_attributes(value, reduced):
    """For a class whose base has its own way, which leaves out what the session's class has set on it."""
    attributes = getattr(value, "__dict__", None)
    if type(reduced) is tuple and reduced[0] is not type(value) and not any(item is type(value) for item in reduced[1]):
        raise CannotKeep("its class would be lost: its base saves it as one of its own")
    if type(reduced) is not tuple or not attributes or (len(reduced) > 2 and reduced[2] is not None):
        return reduced
    return *reduced[:2], attributes, *(*reduced[3:5], None, None)[:2], rebuild("fill_dict")


def early_methods(attributes):
    """
    Of a class that may know its own objects: by these they are found in sets, before the class has all that it has.
    """
    if all(type(item) in (*ATOMS, Function, classmethod, staticmethod, property) for item in attributes.values()):
        return {}  # it knows none
    return {
        name: item
        for name in ("__hash__", "__eq__")
        if type(item := attributes.get(name)) is Function and item.__closure__ is None and not item.__dict__
    }
