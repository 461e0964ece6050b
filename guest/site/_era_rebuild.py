"""What saved state is rebuilt with: pickles name these functions, so a released one keeps its name and arguments.

A module of the session like any other, since pickles find it by import; it is never imported before a restore needs it.
"""

import builtins
import sys

EMPTY = "_era_rebuild.EMPTY"  # contents of a cell that has none


def namespace():
    """The session's variables: the globals of every function that was defined in it."""
    return sys.modules["__main__"].__dict__


def module(name):
    __import__(name)
    return sys.modules[name]


def new_module(name):
    return type(sys)(name)


def code(marshalled):
    import marshal

    return marshal.loads(marshalled)


def make_cell():
    from types import CellType

    return CellType()


def fill_cell(cell, contents):
    if type(contents) is not str or contents != EMPTY:
        cell.cell_contents = contents


def function(code, scope, name, cells):
    from types import FunctionType

    return FunctionType(code, namespace() if scope is None else scope, name, None, cells)


def fill_function(target, state):
    for cell, contents in zip(target.__closure__ or (), state.pop("cells"), strict=True):
        fill_cell(cell, contents)
    attributes = state.pop("attributes")
    for name, value in state.items():
        setattr(target, name, value)
    target.__dict__.update(attributes)


def function_from(scope_name, *parts):
    """A function of an imported module that the module does not name, such as an inner one."""
    marshalled, name, cells = parts
    return function(marshalled, module(scope_name).__dict__, name, cells)


def attribute(module_name, name):
    return getattr(module(module_name), name)


def new_class(metaclass, name, bases, frame):
    """
    The class without its attributes. Hooks by which classes watch their subclasses have run when it was first made.
    """
    silenced = [
        (base, vars(base)["__init_subclass__"])
        for base in {base: None for each in bases for base in each.__mro__}
        if type(vars(base).get("__init_subclass__")) is classmethod
    ]
    for base, _ in silenced:
        type.__delattr__(base, "__init_subclass__")
    try:
        made = _own_new(metaclass)(metaclass, name, bases, dict(frame))
    finally:
        for base, hook in silenced:
            type.__setattr__(base, "__init_subclass__", hook)
    if "_abc" in sys.modules and issubclass(metaclass, sys.modules["abc"].ABCMeta):
        sys.modules["_abc"]._abc_init(made)
    return made


def _own_new(metaclass):
    """The interpreter's own way to make a class of this kind, below all that is written in Python."""
    for kind in metaclass.__mro__:
        if "__new__" in vars(kind) and type(vars(kind)["__new__"]) is type(len):
            return kind.__new__
    return type.__new__


def fill_class(target, parts):
    state, registered = parts
    for name, value in state.items():
        type.__setattr__(target, name, value)
    if "__firstlineno__" in state:
        type.__setattr__(target, "__firstlineno__", state["__firstlineno__"])
    for subclass in registered or ():
        sys.modules["_abc"]._abc_register(target, subclass)


def exception(kind, args):
    return kind.__new__(kind, *args)


def fill_exception(error, state):
    error.args = state["args"]
    error.__cause__, error.__context__ = state["cause"], state["context"]
    error.__suppress_context__ = state["suppress"]
    for name, value in state["attributes"].items():
        setattr(error, name, value)


def opened(path, mode, *parts):
    encoding, errors, buffering, position, closed, *name = parts
    file = open("/dev/null" if closed else path, mode, buffering, encoding, errors, opener=_open_as_it_is)
    if name:
        getattr(getattr(file, "buffer", file), "raw", file).name = name[0]
    if closed:
        file.close()
    elif "a" not in mode or "+" in mode:
        file.seek(position)
    return file


def _open_as_it_is(path, flags):
    """Whatever its mode: it is not made, and keeps what is in it."""
    import posix

    return posix.open(path, flags & ~(posix.O_TRUNC | posix.O_EXCL | posix.O_CREAT))


def standard_stream(name):
    return getattr(sys, name)


def builtin(name):
    return getattr(builtins, name)


def rlock():
    import threading

    return threading.RLock()


def lock():
    import _thread

    return _thread.allocate_lock()


def simple_queue(items):
    import queue

    made = queue.SimpleQueue()
    for item in items:
        made.put(item)
    return made


def thread_local(kind):
    return kind()


def fill_dict(target, attributes):
    target.__dict__.update(attributes)


def fill_object(target, state):
    """Calls nothing of the object's: its own __getattr__ may need what is not there yet."""
    attributes, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
    if attributes:
        current = object.__getattribute__(target, "__dict__")
        current.clear()  # some were there early, in another order
        current.update(attributes)
    for name, value in (slots or {}).items():
        object.__setattr__(target, name, value)


_makers = {}


def instance(kind, arguments, early):
    """An object as the interpreter makes it, below all that its class wrote, with what others may hash it by."""
    if (make := _makers.get(kind)) is None:
        base = next(base for base in kind.__mro__ if type(vars(base).get("__new__")) is type(len))
        make = _makers[kind] = base.__new__
    made = make(kind, *arguments)
    if early is not None:
        fill_object(made, early)
    return made


def fill_container(target, state):
    """By the methods of `base`, a container of the interpreter's own: those of the object's class may do anything."""
    attributes, base, items, extra = state
    if attributes is not None:
        fill_object(target, attributes)
    if base.__name__ == "deque":
        base.__init__(target, items, extra)
    elif base.__name__ == "defaultdict":
        base.__init__(target, extra, items)
    elif base.__name__ == "OrderedDict":
        for key, value in items:
            base.__setitem__(target, key, value)  # its __init__ would call the class's own
    else:
        base.__init__(target, items)


def fill_parser(target, state):
    """For argparse, which knows its mark for nothing by identity."""
    from argparse import SUPPRESS

    attributes = state if type(state) is dict else {}
    for items in (attributes, *(value for value in attributes.values() if type(value) is dict)):
        for name, value in items.items():
            if type(value) is str and value == SUPPRESS:
                items[name] = SUPPRESS
    fill_object(target, state)


def context_variable(name, default):
    from contextvars import ContextVar

    return ContextVar(name, default=default[0]) if default else ContextVar(name)


def set_context_variable(variable, value):
    if value:
        variable.set(value[0])


def context(items):
    from contextvars import Context

    made = Context()
    for variable, value in items:
        made.run(variable.set, value)
    return made


def mapping_proxy(mapping):
    from types import MappingProxyType

    return MappingProxyType(mapping)


def view_of(kind, mapping):
    return getattr(mapping, kind)()


def match(pattern, text, *place):
    position, end, span = place
    for found in (
        pattern.match(text, span[0], end),
        pattern.fullmatch(text, span[0], end),
        pattern.search(text, position, end),
    ):
        if found is not None and found.span() == tuple(span):
            return found
    raise ValueError("the match cannot be found again")


def cached(function, parameters):
    from functools import lru_cache

    return lru_cache(**parameters)(function)


def new_type(name, supertype, module_name):
    from typing import NewType

    made = NewType(name, supertype)  # pyright: ignore[reportArgumentType]  as the session's own was made
    made.__module__ = module_name
    return made


def type_alias(name, value, parameters, module_name):
    from typing import TypeAliasType

    scope = {"__name__": module_name, "make": TypeAliasType}
    return eval("lambda *parts: make(*parts[:2], type_params=parts[2])", scope)(name, value, parameters)


def type_variable(kind, name, module_name, options):
    """A ParamSpec or TypeVarTuple."""
    made = attribute("typing", kind)(name, **options)
    made.__module__ = module_name
    return made


def thread(name, daemon, ident):
    """One that has not begun, or, with its number, one that has ended."""
    import _thread
    import threading

    made = threading.Thread(name=name, daemon=daemon)
    if ident is not None:
        state = vars(made)
        handle = vars(_thread)["_make_thread_handle"](ident)
        handle._set_done()
        state["_started"].set()
        state.update(_ident=ident, _handle=handle)
        for attribute in ("_target", "_args", "_kwargs"):
            del state[attribute]
    return made


def sqlite_connection(path, content, *settings):
    import sqlite3

    isolation_level, row_factory, text_factory = settings
    connection = sqlite3.connect(path, isolation_level=isolation_level)
    if content is not None:
        connection.deserialize(content)
    connection.row_factory, connection.text_factory = row_factory, text_factory
    return connection


class _Nobody:
    """What a dead weak reference refers to: gone as soon as it was made."""


def weak_reference(kind, target, callback):
    return kind(_Nobody() if target is None else target, *callback)


def weak_proxy(target):
    from weakref import proxy

    return proxy(_Nobody() if target is None else target)


def weak_method(target, name):
    return attribute("weakref", "WeakMethod")(getattr(target, name))


def finalizer(target, act, *parts):
    """One that has been called when it has nothing to call."""
    from weakref import finalize

    args, keywords, at_exit = parts
    nobody = _Nobody()
    made = finalize(nobody if act is None else target, act or int, *args, **keywords)
    made.atexit = at_exit
    if act is None:
        made.detach()
    return made


def weak_set(items):
    return attribute("weakref", "WeakSet")(items)


def weak_mapping(kind, items):
    return kind(items)


def event_loop():
    """The session's own loop, as the kernel makes it for top-level await."""
    import asyncio

    try:
        return asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop


def fill_array(target, parts):
    state, attributes = parts
    if state is not None:
        target.__setstate__(state)
    target.__dict__.update(attributes)


def array_view(base, *layout):
    from numpy import ndarray

    shape, dtype, offset, strides, writeable = layout
    # A buffer is read from its first byte on: one laid out columns first is taken by its transpose.
    view = ndarray(shape, dtype, base if base.flags.c_contiguous else base.T, offset, strides)
    view.flags.writeable = writeable
    return view


def system_random():
    return attribute("random", "SystemRandom")()


def memory(base, start, stop, form):
    return memoryview(base)[start:stop].cast(form) if form != "B" else memoryview(base)[start:stop]
