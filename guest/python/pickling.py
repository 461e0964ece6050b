"""Values to bytes and back: the C pickler, with reductions for what its defaults get wrong in a session.

Functions and classes of the session are pickled by value and get the restored session's variables as their globals;
what belongs to an imported module is pickled by its name. Enumerations and type variables go through cloudpickle. How
each other kind is reduced: reductions.py; how it is rebuilt: guest/site/_era_rebuild.py.
"""

import _pickle
import sys

from by_name import Code, Function, NeedsChild, global_names, import_unhidden, is_importable, rebuild
from instances import early_methods, maker_of, plan
from library_state import is_of_session
from reductions import OF_KIND, OF_NAME

PROTOCOL = 5
Cell = type((lambda x: lambda: x)(0).__closure__[0])  # pyright: ignore[reportOptionalSubscript]  it has one
FUNCTION_ATTRIBUTES = (
    "__defaults__",
    "__kwdefaults__",
    "__doc__",
    "__module__",
    "__qualname__",
    "__annotations__",
    "__type_params__",
)
# Methods that pickling may call: a session's own may have effects, so they only run in a forked child.
HOOKS = (
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__getnewargs__",
    "__getnewargs_ex__",
    "__getattribute__",
    "__getattr__",
    "__iter__",
    "__len__",
    "items",
    "__class__",
)


class Pickler(_pickle.Pickler):
    """Pickles the variables of one group. With `in_place`, refuses by NeedsChild what only a child may do."""

    def __init__(self, file, namespace, in_place):
        super().__init__(file, PROTOCOL)
        self.namespace = namespace
        self.in_place = in_place
        self.reaches = set()  # names of globals that functions of this group use
        self.files = set()  # file names of their code
        self.kinds = set()  # of the objects that the interpreter does not pickle by itself
        self._function_cells = set()
        self._scopes = {}
        self._kinds_with_hooks = {}
        self._setters = {}
        self._plans = {}

    def reducer_override(self, value):
        kind = type(value)
        reduce = TABLE.get(kind)
        if reduce is not None:
            return reduce(self, value)
        self.kinds.add(kind)
        if issubclass(kind, type):
            return self._reduce_class(value)
        if (by_name := OF_NAME.get(f"{kind.__module__}.{kind.__name__}")) is not None:
            return by_name(self, value)
        if issubclass(kind, BaseException):
            return self._reduce_exception(value)
        if self.in_place and (self._has_hooks(kind) or _has_own_reducer(kind)):
            raise NeedsChild
        if _may_be_singleton(kind, value) and (found := _name_of_singleton(value)) is not None:
            return rebuild("attribute"), found
        if (reduce := self._plan_of(kind)) is not None:
            return reduce(value)
        if (setter := self._setter_of(kind)) is not None:
            return _with_setter(value, setter)
        return NotImplemented

    def _plan_of(self, kind):
        if kind not in self._plans:
            self._plans[kind] = plan(kind)
        return self._plans[kind]

    def _setter_of(self, kind):
        """What puts the state of such an object back, where pickle's own way would go wrong."""
        if kind not in self._setters:
            names = {name for base in kind.__mro__[:-1] for name in vars(base)}
            is_simple = "__setstate__" not in names and kind not in sys.modules["copyreg"].dispatch_table
            of_argparse = any(base.__module__ == "argparse" for base in kind.__mro__)
            needed = "fill_parser" if of_argparse else "fill_object" if "__getattr__" in names else None
            self._setters[kind] = needed if is_simple else None
        return self._setters[kind]

    def _has_hooks(self, kind):
        known = self._kinds_with_hooks.get(kind)
        if known is None:
            known = any(
                isinstance(vars(base)[name], (Function, property)) and is_of_session(base)
                for base in kind.__mro__
                for name in HOOKS
                if name in vars(base)
            )
            self._kinds_with_hooks[kind] = known
        return known

    def reduce_function(self, value):
        if is_importable(value):
            return NotImplemented
        code = value.__code__
        self.files.add(code.co_filename)
        self.reaches |= global_names(code)
        cells = value.__closure__
        self._function_cells.update(map(id, cells or ()))
        state = {name: getattr(value, name) for name in FUNCTION_ATTRIBUTES}
        state["cells"] = [_contents(cell) for cell in cells or ()]
        state["attributes"] = value.__dict__
        parts = (code, value.__name__, cells)
        scope = value.__globals__
        if scope is self.namespace:
            made = rebuild("function"), (code, None, value.__name__, cells)
        elif getattr(_module_of(scope), "__dict__", None) is scope:
            made = rebuild("function_from"), (scope["__name__"], *parts)
        else:
            made = rebuild("function"), (code, self._own_scope(scope), value.__name__, cells)
        return *made, state, None, None, rebuild("fill_function")

    def _own_scope(self, scope):
        """Globals that exec() was given: one dictionary for all functions made there, without the builtins."""
        if id(scope) not in self._scopes:
            self._scopes[id(scope)] = {name: value for name, value in scope.items() if name != "__builtins__"}
        return self._scopes[id(scope)]

    def _reduce_class(self, value):
        if is_importable(value):
            return NotImplemented
        if value in OF_SINGLE_VALUES:
            return type, (OF_SINGLE_VALUES[value],)
        if self.in_place and self._has_hooks(type(value)):
            raise NeedsChild
        if "enum" in sys.modules and issubclass(value, sys.modules["enum"].Enum):
            return _with_aliases(value, import_unhidden("cloudpickle.cloudpickle")._class_reduce(value))
        return _take_class_apart(value)

    def reduce_cell(self, value):
        if id(value) in self._function_cells:
            return rebuild("make_cell"), ()  # its function fills it, which also serves cells that lead back to it
        return rebuild("make_cell"), (), _contents(value), None, None, rebuild("fill_cell")

    def _reduce_exception(self, value):
        if self.in_place and self._has_hooks(type(value)):
            raise NeedsChild
        if type(value).__reduce__ not in (BaseException.__reduce__, OSError.__reduce__, ImportError.__reduce__):
            return NotImplemented
        state = {
            "args": value.args,
            "cause": value.__cause__,
            "context": value.__context__,
            "suppress": value.__suppress_context__,
            "attributes": dict(value.__dict__),
        }
        if isinstance(value, (ImportError, NameError, AttributeError, SyntaxError, OSError)):
            for name in ("name", "path", "obj", "filename", "filename2", "lineno", "offset", "text", "msg"):
                if getattr(value, name, None) is not None:
                    state["attributes"][name] = getattr(value, name)
        return rebuild("exception"), (type(value), value.args), state, None, None, rebuild("fill_exception")


def _module_of(scope):
    name = scope.get("__name__")
    return sys.modules.get(name) if type(name) is str else None


class Unpickler(_pickle.Unpickler):
    """Finds names of the session through `find_variable`, all others by import."""

    def __init__(self, file, find_variable):
        super().__init__(file)
        self._find_variable = find_variable

    def find_class(self, module, name):
        if module == "__main__":
            first, *rest = name.split(".")
            found = self._find_variable(first)
            for part in rest:
                found = getattr(found, part)
            return found
        return super().find_class(module, name)


TABLE = {**OF_KIND, Function: Pickler.reduce_function, Cell: Pickler.reduce_cell}
OF_SINGLE_VALUES = {type(None): None, type(...): ..., type(NotImplemented): NotImplemented}
# Set with the class itself, or by the interpreter.
NOT_CLASS_STATE = frozenset(("__dict__", "__weakref__", "__slots__", "__module__", "__qualname__", "_abc_impl"))
MemberDescriptor, GetSetDescriptor = type(Function.__globals__), type(Code.co_code)
class_dict = type.__dict__["__dict__"].__get__


def _with_aliases(kind, reduced):
    """An enumeration, made with all names of its members: others are no attributes to be set later."""
    make, (bases, name, qualname, _, *rest), (state, slots), *ways = reduced
    members = {alias: member.value for alias, member in kind.__members__.items()}
    state = {key: value for key, value in state.items() if key not in members}
    return make, (bases, name, qualname, members, *rest), (state, slots), *ways


def _take_class_apart(value):
    """A class as what type() is called with, and its attributes, which are set after it is known to the unpickler."""
    attributes = class_dict(value)
    frame = {name: attributes[name] for name in ("__slots__", "__module__", "__orig_bases__") if name in attributes}
    frame["__qualname__"] = value.__qualname__
    frame.update(early_methods(attributes))
    state = {
        name: item
        for name, item in attributes.items()
        if name not in NOT_CLASS_STATE and type(item) not in (MemberDescriptor, GetSetDescriptor)
    }
    registered = None
    if "_abc_impl" in attributes:
        registered = [
            found for reference in sys.modules["_abc"]._get_dump(value)[0] if (found := reference()) is not None
        ]
    parts = (type(value), value.__name__, value.__bases__, frame)
    return rebuild("new_class"), parts, (state, registered), None, None, rebuild("fill_class")


def _has_own_reducer(kind):
    """Whether the session has registered a function that takes such objects apart."""
    reduce = sys.modules["copyreg"].dispatch_table.get(kind)
    return reduce is not None and getattr(reduce, "__module__", None) not in ("copyreg", "re")


def _may_be_singleton(kind, value):
    """Whether it is of a private class, or of one of a library and has nothing of its own."""
    if kind.__name__[0] == "_":
        return True
    is_empty = getattr(value, "__dict__", None) == {} and maker_of(kind) is object and "__slots__" not in vars(kind)
    return is_empty and not is_of_session(value)


def _name_of_singleton(value):
    """(module, name) of an object of a module that others compare by identity, such as dataclasses.MISSING."""
    module = type(value).__module__
    if module == "__main__":
        return None
    for name, item in vars(sys.modules.get(module, sys)).items():
        if item is value:
            return module, name
    return None


def _with_setter(value, setter):
    reduced = value.__reduce_ex__(PROTOCOL)
    if (
        type(reduced) is not tuple
        or len(reduced) < 3
        or reduced[2] is None
        or reduced[0] is not sys.modules["copyreg"].__newobj__
    ):
        return reduced  # it has its own way
    return *reduced[:3], *(*reduced[3:5], None, None)[:2], rebuild(setter)


def _contents(cell):
    try:
        return cell.cell_contents
    except ValueError:
        return "_era_rebuild.EMPTY"
