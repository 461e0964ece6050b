"""Values to bytes and back: the C pickler, with reductions for what its defaults get wrong in a session.

Functions and classes of the session are pickled by value and get the restored session's variables as their globals;
what belongs to an imported module is pickled by its name. Enumerations and type variables go through cloudpickle. How each other kind is rebuilt: guest/site/_era_rebuild.py.
"""

import _thread
import _weakref
import builtins
import gc
import marshal
import posix
import sys
from _io import BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOWrapper

import _pickle

PROTOCOL = 5
IS_MADE_AT_RUN_TIME = 1 << 9  # Py_TPFLAGS_HEAPTYPE
Function, Code, Module = type(lambda: 0), type((lambda: 0).__code__), type(sys)
Cell = type((lambda x: lambda: x)(0).__closure__[0])
MappingProxy = type(type.__dict__)
FUNCTION_ATTRIBUTES = ("__defaults__", "__kwdefaults__", "__doc__", "__module__", "__qualname__", "__annotations__", "__type_params__")
# Methods that pickling may call: a session's own may have effects, so they only run in a forked child.
HOOKS = (
    "__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__",
    "__getattribute__", "__getattr__", "__iter__", "__len__", "items", "__class__",
)


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


def rebuild(name):
    return getattr(import_unhidden("_era_rebuild"), name)


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


class Pickler(_pickle.Pickler):
    """Pickles the variables of one group. With `in_place`, refuses by NeedsChild what only a child may do."""

    def __init__(self, file, namespace, in_place):
        super().__init__(file, PROTOCOL)
        self.namespace = namespace
        self.in_place = in_place
        self.reaches = set()  # names of globals that functions of this group use
        self.files = set()  # file names of their code
        self._function_cells = set()
        self._scopes = {}
        self._kinds_with_hooks = {}
        self._setters = {}

    def reducer_override(self, value):
        kind = type(value)
        reduce = TABLE.get(kind)
        if reduce is not None:
            return reduce(self, value)
        if issubclass(kind, type):
            return self._reduce_class(value)
        if (by_name := NAMED.get(f"{kind.__module__}.{kind.__name__}")) is not None:
            return by_name(self, value)
        if issubclass(kind, BaseException):
            return self._reduce_exception(value)
        if self.in_place and self._has_hooks(kind):
            raise NeedsChild
        if kind.__name__[0] == "_" and (found := _name_of_singleton(value)) is not None:
            return rebuild("attribute"), found
        if (setter := self._setter_of(kind)) is not None:
            return _with_setter(value, setter)
        return NotImplemented

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
                isinstance(vars(base)[name], (Function, property)) and base.__module__ == "__main__"
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
        elif getattr(sys.modules.get(scope.get("__name__")), "__dict__", None) is scope:
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
        if "enum" in sys.modules and issubclass(value, sys.modules["enum"].Enum):
            return import_unhidden("cloudpickle.cloudpickle")._class_reduce(value)
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


OF_SINGLE_VALUES = {type(None): None, type(...): ..., type(NotImplemented): NotImplemented}
# Set with the class itself, or by the interpreter.
NOT_CLASS_STATE = frozenset(("__dict__", "__weakref__", "__slots__", "__module__", "__qualname__", "_abc_impl"))
MemberDescriptor, GetSetDescriptor = type(Function.__globals__), type(Code.co_code)
class_dict = type.__dict__["__dict__"].__get__


def _take_class_apart(value):
    """A class as what type() is called with, and its attributes, which are set after it is known to the unpickler."""
    attributes = class_dict(value)
    frame = {name: attributes[name] for name in ("__slots__", "__module__", "__orig_bases__") if name in attributes}
    frame["__qualname__"] = value.__qualname__
    state = {
        name: item
        for name, item in attributes.items()
        if name not in NOT_CLASS_STATE and type(item) not in (MemberDescriptor, GetSetDescriptor)
    }
    registered = None
    if "_abc_impl" in attributes:
        registered = [found for reference in sys.modules["_abc"]._get_dump(value)[0] if (found := reference()) is not None]
    parts = (type(value), value.__name__, value.__bases__, frame)
    return rebuild("new_class"), parts, (state, registered), None, None, rebuild("fill_class")


def _name_of_singleton(value):
    """(module, name) of a private object of a module that others compare by identity, such as dataclasses.MISSING."""
    module = type(value).__module__
    if module == "__main__":
        return None
    for name, item in vars(sys.modules.get(module, sys)).items():
        if item is value:
            return module, name
    return None


def _with_setter(value, setter):
    reduced = value.__reduce_ex__(PROTOCOL)
    if type(reduced) is not tuple or len(reduced) < 3 or reduced[2] is None or reduced[0] is not sys.modules["copyreg"].__newobj__:
        return reduced  # it has its own way
    return *reduced[:3], *(*reduced[3:5], None, None)[:2], rebuild(setter)


def _contents(cell):
    try:
        return cell.cell_contents
    except ValueError:
        return "_era_rebuild.EMPTY"


def _reduce_module(_pickler, value):
    name = value.__name__
    if sys.modules.get(name) is value and (getattr(value, "__spec__", None) is not None or name == "__main__"):
        return rebuild("module"), (name,)
    content = {key: item for key, item in vars(value).items() if key not in ("__builtins__", "__loader__", "__spec__")}
    return rebuild("new_module"), (name,), content, None, None, rebuild("fill_dict")


def _reduce_code(_pickler, value):
    return rebuild("code"), (marshal.dumps(value),)


def _reduce_property(_pickler, value):
    return property, (value.fget, value.fset, value.fdel, value.__doc__)


def _reduce_wrapped_method(_pickler, value):
    return type(value), (value.__func__,)


def _reduce_mapping_proxy(_pickler, value):
    return rebuild("mapping_proxy"), (gc.get_referents(value)[0],)


def _reduce_view(pickler, value):
    kind = type(value).__name__.removeprefix("dict_").removeprefix("odict_")
    return rebuild("view_of"), (kind, gc.get_referents(value)[0])


def _reduce_memory(_pickler, value):
    base = value.obj
    if type(base) in (bytes, bytearray) and value.contiguous and value.nbytes == len(base):
        return rebuild("memory"), (base, 0, len(base), value.format)
    if value.ndim != 1 or not value.contiguous:
        raise CannotKeep("only a flat, contiguous memoryview can be saved")
    content = value.tobytes() if value.readonly else bytearray(value.tobytes())
    return rebuild("memory"), (content, 0, len(content), value.format)


def _reduce_lock(_pickler, _value):
    return rebuild("lock"), ()


def _reduce_rlock(_pickler, _value):
    return rebuild("rlock"), ()


def _reduce_thread_local(_pickler, value):
    return rebuild("thread_local"), (type(value),), dict(value.__dict__), None, None, rebuild("fill_dict")


def _reduce_weak_reference(_pickler, value):
    target, callback = value(), getattr(value, "__callback__", None)
    return rebuild("weak_reference"), (type(value), target, () if callback is None else (callback,))


def _reduce_file(pickler, value):
    if not value.closed and value.fileno() <= 2:
        return rebuild("standard_stream"), (("stdin", "stdout", "stderr")[value.fileno()],)
    path = value.name
    if type(path) is not str:
        raise CannotKeep("only a file that was opened by its path can be opened again")
    kind = type(value)
    text = kind is TextIOWrapper
    mode = value.mode if type(value.mode) is str else value.raw.mode
    if not text and "b" not in mode:
        mode += "b"
    if value.closed:
        position = 0
    elif "r" in mode and "+" not in mode:
        position = _tell(value)
    elif pickler.in_place:
        value.flush()
        position = _tell(value)
    else:
        # A child must not write what its parent still holds back: the position is that of what was written.
        position = posix.lseek(value.fileno(), 0, 1)
    encoding, errors = (value.encoding, value.errors) if text else (None, None)
    buffering = 0 if kind is FileIO else -1
    return rebuild("opened"), (path if path.startswith("/") else f"{posix.getcwd()}/{path}", mode, encoding, errors, buffering, position, value.closed)


def _tell(file):
    try:
        return file.tell()
    except OSError as cause:
        raise CannotKeep(f"its position cannot be told: {cause}") from cause


def _reduce_builtin_of_the_kernel(_pickler, value):
    for name in ("display", "exit", "quit", "help"):
        if getattr(builtins, name, None) == value:
            return rebuild("builtin"), (name,)
    return NotImplemented


def _reduce_match(_pickler, value):
    return rebuild("match"), (value.re, value.string, value.pos, value.endpos, value.span())


def _reduce_cached_function(_pickler, value):
    if is_importable(value):
        return NotImplemented
    attributes = {name: item for name, item in value.__dict__.items() if name != "__wrapped__"}
    return rebuild("cached"), (value.__wrapped__, value.cache_parameters()), attributes, None, None, rebuild("fill_dict")


def _reduce_new_type(_pickler, value):
    return rebuild("new_type"), (value.__name__, value.__supertype__, value.__module__)


def _by_cloudpickle(_pickler, value):
    return import_unhidden("cloudpickle.cloudpickle")._typevar_reduce(value)


def _reduce_struct(_pickler, value):
    return type(value), (value.format,)


def _reduce_context_variable(_pickler, value):
    from contextvars import Context

    try:
        default = (Context().run(value.get),)
    except LookupError:
        default = ()
    try:
        current = (value.get(),)
    except LookupError:
        current = ()
    return rebuild("context_variable"), (value.name, default), current, None, None, rebuild("set_context_variable")


def _reduce_context(_pickler, value):
    return rebuild("context"), (list(value.items()),)


def _reduce_simple_queue(pickler, value):
    if pickler.in_place:
        raise NeedsChild  # looking at its items takes them out
    items = []
    while not value.empty():
        items.append(value.get())
    for item in items:
        value.put(item)  # for the next look at it
    return rebuild("simple_queue"), (items,)


def _reduce_sqlite_connection(pickler, value):
    if value.in_transaction:
        raise CannotKeep("it has an open transaction: commit or roll back before the end of the run")
    path = value.execute("PRAGMA database_list").fetchone()[2]
    content = None if path else value.serialize()
    parts = (path or ":memory:", content, value.isolation_level, value.row_factory, value.text_factory)
    return rebuild("sqlite_connection"), parts


def _reduce_weak_method(_pickler, value):
    method = value()
    if method is None:
        raise CannotKeep("the object that it refers to is gone")
    return rebuild("weak_method"), (method.__self__, method.__name__)


def _reduce_weak_set(_pickler, value):
    return rebuild("weak_set"), (list(value),)


def _reduce_weak_mapping(_pickler, value):
    return rebuild("weak_mapping"), (type(value), dict(value.items()))


def _reduce_event_loop(_pickler, value):
    import asyncio

    if value.is_closed() or asyncio.all_tasks(value):
        raise CannotKeep("it has tasks, or is closed")
    return rebuild("event_loop"), ()


def _reduce_array(_pickler, value):
    """A view stays one: what it shares with the array below it, or with another view, is shared again."""
    base = value.base
    # Of a base that only this view holds on to, nobody could tell a copy of the part: two references are ours.
    if type(base) is not type(value) or base.dtype.hasobject or sys.getrefcount(base) <= 3:
        return NotImplemented
    offset = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    if not base.flags.forc or offset < 0:
        return NotImplemented
    return rebuild("array_view"), (base, value.shape, value.dtype, offset, value.strides, value.flags.writeable)


def _reduce_system_random(_pickler, _value):
    return rebuild("system_random"), ()


def _reduce_random(_pickler, value):
    """The functions of the module are methods of one object."""
    return (rebuild("attribute"), ("random", "_inst")) if value is sys.modules["random"]._inst else NotImplemented


def _refuse(reason):
    def refuse(_pickler, _value):
        raise CannotKeep(reason)

    return refuse


TABLE = {
    Function: Pickler.reduce_function,
    Cell: Pickler.reduce_cell,
    Module: _reduce_module,
    Code: _reduce_code,
    property: _reduce_property,
    classmethod: _reduce_wrapped_method,
    staticmethod: _reduce_wrapped_method,
    MappingProxy: _reduce_mapping_proxy,
    type({}.keys()): _reduce_view,
    type({}.values()): _reduce_view,
    type({}.items()): _reduce_view,
    memoryview: _reduce_memory,
    type(_thread.allocate_lock()): _reduce_lock,
    _thread.RLock: _reduce_rlock,
    _thread._local: _reduce_thread_local,
    _weakref.ReferenceType: _reduce_weak_reference,
    TextIOWrapper: _reduce_file,
    BufferedReader: _reduce_file,
    BufferedWriter: _reduce_file,
    BufferedRandom: _reduce_file,
    FileIO: _reduce_file,
    type((lambda: (yield))()): _refuse("a generator's position cannot be saved"),
    type(sys._getframe()): _refuse("a frame belongs to a run"),
}
# Kinds whose modules are not there from the start, by the names of module and kind.
NAMED = {
    "re.Match": _reduce_match,
    "functools._lru_cache_wrapper": _reduce_cached_function,
    "typing.NewType": _reduce_new_type,
    "typing.TypeVar": _by_cloudpickle,
    "_struct.Struct": _reduce_struct,
    "_contextvars.ContextVar": _reduce_context_variable,
    "_contextvars.Context": _reduce_context,
    "_queue.SimpleQueue": _reduce_simple_queue,
    "sqlite3.Connection": _reduce_sqlite_connection,
    "weakref.WeakMethod": _reduce_weak_method,
    "weakref.WeakSet": _reduce_weak_set,
    "_weakrefset.WeakSet": _reduce_weak_set,
    "weakref.WeakValueDictionary": _reduce_weak_mapping,
    "weakref.WeakKeyDictionary": _reduce_weak_mapping,
    "asyncio.unix_events._UnixSelectorEventLoop": _reduce_event_loop,
    "random.Random": _reduce_random,
    "random.SystemRandom": _reduce_system_random,
    "numpy.ndarray": _reduce_array,
    "builtins.coroutine": _refuse("a coroutine's position cannot be saved"),
    "builtins.async_generator": _refuse("a generator's position cannot be saved"),
    "builtins.traceback": _refuse("a traceback belongs to a run"),
    "threading.Thread": _refuse("a thread cannot be saved"),
    "subprocess.Popen": _refuse("a running program cannot be saved"),
    "socket.socket": _refuse("a connection cannot be saved"),
    "_asyncio.Task": _refuse("a task cannot be saved"),
    "_asyncio.Future": _refuse("a future cannot be saved"),
    "builtins.method": _reduce_builtin_of_the_kernel,
    "contextvars.Context": _reduce_context,
    "contextvars.ContextVar": _reduce_context_variable,
}
