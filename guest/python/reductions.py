"""
How values of each kind are reduced, where the pickler's own way is missing or wrong: functions of (pickler, value).
"""

import _thread
import _weakref
import builtins
import gc
import marshal
import posix
import sys
from _io import BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOWrapper

import open_files
import running_threads
from by_name import CannotKeep, Code, NeedsChild, import_unhidden, is_importable, name_of_module, rebuild
from workspace_modules import file_of

Module, MappingProxy = type(sys), type(type.__dict__)


def _reduce_module(_pickler, value):
    name = name_of_module(value)
    if sys.modules.get(name) is value and (getattr(value, "__spec__", None) is not None or name == "__main__"):
        return rebuild("module"), (name,)
    content = {key: item for key, item in vars(value).items() if key not in ("__builtins__", "__loader__", "__spec__")}
    return rebuild("new_module"), (name,), content, None, None, rebuild("fill_dict")


_marks = {}  # id of a mark -> (module, name)
_marks_of = 0  # how many modules there were when they were looked through


def _reduce_mark(_pickler, value):
    """A bare object is what a module compares with by identity, such as the usual timeout of sockets: found there."""
    global _marks_of
    if _marks_of != len(sys.modules):
        _marks_of = len(sys.modules)
        for module in list(sys.modules.values()):
            if type(module) is Module and name_of_module(module) not in ("", "__main__") and file_of(module) is None:
                found = (
                    (id(item), (module.__name__, name)) for name, item in vars(module).items() if type(item) is object
                )
                _marks.update(found)
    place = _marks.get(id(value))
    if place is None or getattr(sys.modules.get(place[0]), place[1], None) is not value:
        return NotImplemented
    return rebuild("attribute"), place


def _reduce_code(_pickler, value):
    return rebuild("code"), (marshal.dumps(value),)


def _reduce_property(_pickler, value):
    return property, (value.fget, value.fset, value.fdel, value.__doc__)


def _reduce_wrapped_method(_pickler, value):
    return type(value), (value.__func__,)


def _reduce_mapping_proxy(_pickler, value):
    return rebuild("mapping_proxy"), (gc.get_referents(value)[0],)


def _reduce_view(_pickler, value):
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


def _reduce_weak_proxy(_pickler, value):
    try:
        target = value.__reduce__.__self__  # asked through it, the object's method tells whose it is
    except ReferenceError:
        target = None
    return rebuild("weak_proxy"), (target,)


def _reduce_file(pickler, value):
    if not value.closed and value.fileno() <= 2:
        return rebuild("standard_stream"), (("stdin", "stdout", "stderr")[value.fileno()],)
    path = value.name
    if type(path) is not str:
        raise CannotKeep("only a file that was opened by its path can be opened again")
    if not value.closed:
        _refuse_lost(path, value.fileno())
    kind = type(value)
    text = kind is TextIOWrapper
    mode = value.mode if type(value.mode) is str else value.raw.mode
    if not text and "b" not in mode:
        mode += "b"
    if value.closed:
        position = 0
    elif "r" in mode and "+" not in mode:
        if text and pickler.in_place:
            open_files.settle(value)
        position = _tell(value)
    elif pickler.in_place:
        position = _tell(value)
        value.flush()
    else:
        # A child must not write what its parent still holds back: the position is that of what was written.
        position = posix.lseek(value.fileno(), 0, 1)
    encoding, errors = (value.encoding, value.errors) if text else (None, None)
    buffering = 0 if kind is FileIO else -1
    return rebuild("opened"), (_absolute(path), mode, encoding, errors, buffering, position, value.closed, path)


def _absolute(path):
    return path if path.startswith("/") else f"{posix.getcwd()}/{path}"


def _refuse_lost(path, descriptor):
    if _absolute(path).startswith("/dev/shm/"):
        raise CannotKeep("its file is in a folder that is emptied when the session sleeps")
    try:
        is_there = posix.stat(path)[1:3] == posix.fstat(descriptor)[1:3]  # number of the file, and of its disk
    except OSError:
        is_there = False
    if not is_there:
        raise CannotKeep("its file was removed, moved or replaced")


def _tell(file):
    try:
        return file.tell()
    except OSError as cause:
        raise CannotKeep(f"its position cannot be told: {cause}") from cause


# Builtins that the kernel adds: another kernel has its own under the same names.
BUILTINS_OF_THE_KERNEL = ("display", "get_ipython", "exit", "quit", "help")


def _reduce_builtin_of_the_kernel(_pickler, value):
    for name in BUILTINS_OF_THE_KERNEL:
        if getattr(builtins, name, None) == value:
            return rebuild("builtin"), (name,)
    return NotImplemented


def _reduce_match(_pickler, value):
    return rebuild("match"), (value.re, value.string, value.pos, value.endpos, value.span())


def _reduce_cached_function(_pickler, value):
    if is_importable(value):
        return NotImplemented
    attributes = {name: item for name, item in value.__dict__.items() if name != "__wrapped__"}
    return (
        rebuild("cached"),
        (value.__wrapped__, value.cache_parameters()),
        attributes,
        None,
        None,
        rebuild("fill_dict"),
    )


def _reduce_new_type(_pickler, value):
    return rebuild("new_type"), (value.__name__, value.__supertype__, value.__module__)


def _reduce_type_alias(_pickler, value):
    if is_importable(value):
        return NotImplemented
    parameters = value.__type_params__
    try:
        target = value.__value__  # worked out now, if nobody has asked before
    except Exception as cause:
        raise CannotKeep(f"what it stands for cannot be told: {cause}") from cause
    return rebuild("type_alias"), (value.__name__, target, parameters, value.__module__)


def _reduce_thread(_pickler, value):
    if running_threads.has(value):
        raise CannotKeep("a thread cannot be saved")
    fresh = type(value)(name=value.name)
    own = {name: item for name, item in vars(value).items() if name not in vars(fresh)}
    if value.ident is None:
        work = {name: vars(value)[name] for name in ("_target", "_args", "_kwargs") if name in vars(value)}
        return rebuild("thread"), (value.name, value.daemon, None), work | own, None, None, rebuild("fill_dict")
    return rebuild("thread"), (value.name, value.daemon, value.ident), own, None, None, rebuild("fill_dict")


def _by_cloudpickle(_pickler, value):
    return import_unhidden("cloudpickle.cloudpickle")._typevar_reduce(value)


def _reduce_type_variable(pickler, value):
    if pickler.in_place:
        raise NeedsChild  # its bound and default may be worked out by code of the session
    names = ("__bound__", "__covariant__", "__contravariant__", "__infer_variance__")
    options = {name.strip("_"): getattr(value, name) for name in names if hasattr(value, name)}
    if value.has_default():
        options["default"] = value.__default__
    return rebuild("type_variable"), (type(value).__name__, value.__name__, value.__module__, options)


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


def _reduce_sqlite_connection(_pickler, value):
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
    # When only this view holds on to its base, nobody could tell a copy of the part: two references are ours.
    if type(base) is not type(value) or base.dtype.hasobject or sys.getrefcount(base) <= 3:
        return NotImplemented
    offset = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    if not base.flags.forc or offset < 0:
        return NotImplemented
    return rebuild("array_view"), (base, value.shape, value.dtype, offset, value.strides, value.flags.writeable)


def _reduce_finalizer(_pickler, value):
    parts = value.peek()
    if parts is None:
        return rebuild("finalizer"), (None, None, (), {}, False)
    return rebuild("finalizer"), (*parts, value.atexit)


def _reduce_system_random(_pickler, _value):
    return rebuild("system_random"), ()


def _reduce_random(_pickler, value):
    """The functions of the module are methods of one object."""
    return (rebuild("attribute"), ("random", "_inst")) if value is sys.modules["random"]._inst else NotImplemented


def _refuse(reason):
    def refuse(_pickler, _value):
        raise CannotKeep(reason)

    return refuse


OF_KIND = {
    object: _reduce_mark,
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
    _weakref.ProxyType: _reduce_weak_proxy,
    _weakref.CallableProxyType: _reduce_weak_proxy,
    TextIOWrapper: _reduce_file,
    BufferedReader: _reduce_file,
    BufferedWriter: _reduce_file,
    BufferedRandom: _reduce_file,
    FileIO: _reduce_file,
    type((lambda: (yield))()): _refuse("a generator's position cannot be saved"),
    type(sys._getframe()): _refuse("a frame belongs to a run"),
}
# Kinds whose modules are not there from the start, by the names of module and kind.
OF_NAME = {
    "re.Match": _reduce_match,
    "functools._lru_cache_wrapper": _reduce_cached_function,
    "typing.NewType": _reduce_new_type,
    "typing.TypeVar": _by_cloudpickle,
    "typing.ParamSpec": _reduce_type_variable,
    "typing.TypeVarTuple": _reduce_type_variable,
    "typing.TypeAliasType": _reduce_type_alias,
    "_struct.Struct": _reduce_struct,
    "_contextvars.ContextVar": _reduce_context_variable,
    "_contextvars.Context": _reduce_context,
    "_queue.SimpleQueue": _reduce_simple_queue,
    "sqlite3.Connection": _reduce_sqlite_connection,
    "weakref.WeakMethod": _reduce_weak_method,
    "weakref.WeakSet": _reduce_weak_set,
    "weakref.finalize": _reduce_finalizer,
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
    "threading.Thread": _reduce_thread,
    "subprocess.Popen": _refuse("a running program cannot be saved"),
    "multiprocessing.shared_memory.SharedMemory": _refuse("shared memory is emptied when the session sleeps"),
    "socket.socket": _refuse("a connection cannot be saved"),
    "_asyncio.Task": _refuse("a task cannot be saved"),
    "_asyncio.Future": _refuse("a future cannot be saved"),
    "builtins.method": _reduce_builtin_of_the_kernel,
    "contextvars.Context": _reduce_context,
    "contextvars.ContextVar": _reduce_context_variable,
}
