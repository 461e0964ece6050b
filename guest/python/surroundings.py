"""What of the interpreter around the variables belongs to a session's state: its working directory, additions to
sys.path, the global random generators, which submodules were imported, the handlers of signals, and settings
(settings.py)."""

import _signal
import posix
import sys

import interpreter_settings
import settings
from after_import import after_import
from handlers import SIGNALS, own_handler

Method = type(after_import.__get__(0))
_class_dict = type.__dict__["__dict__"].__get__
GENERATORS = ("random", "numpy.random")
# State of modules that this process has not imported.
_waiting = {}  # states of generators
_waiting_settings = {}


def capture(kernel):
    """The surroundings, picklable. In the process of the session itself: a fork seeds its generator anew."""
    first_path = kernel.first_path
    current, unkept = settings.capture(kernel.namespace)
    return {
        "directory": _directory(),
        "submodules": [
            name for name in kernel.evaluator.submodules if name in sys.modules or name in kernel.waiting_submodules()
        ],
        "handlers": _handlers(kernel),
        "path": [entry for entry in sys.path if entry not in first_path and type(entry) is str],
        "generators": {**_waiting, **_generators()},
        "settings": {**_waiting_settings, **current},
        "order": _order(kernel),
        "outside": kernel.outside.state(),
        "unkept": unkept,
    }


def _order(kernel):
    before = kernel.restored.order if kernel.restored is not None else ()
    known = {name: None for name in before if name in kernel.namespace or kernel.waits(name)}
    return [*known, *(name for name in kernel.namespace if name not in known and type(name) is str)]


def _generators():
    states = {}
    for name in GENERATORS:
        try:
            if name in sys.modules:
                states[name] = _GET[name](sys.modules[name])
        except Exception:
            continue  # a module of the program's own that has its name
    return states


def _directory():
    try:
        return posix.getcwd()
    except OSError:
        return "/workspace"


_GET = {
    "random": lambda module: module.getstate(),
    "numpy.random": lambda module: module.get_state(legacy=False),
}
_SET = {
    "random": lambda module, state: module.setstate(state),
    "numpy.random": lambda module, state: module.set_state(state),
}


def _handlers(kernel):
    """Handlers of signals that are a variable, or a method of one: (number, variable, method or None)."""
    handlers = [(number, own_handler(_signal.getsignal(number))) for number in SIGNALS]
    mine = [(number, handler) for number, handler in handlers if type(handler) is not int and handler is not None]
    return [(number, *place) for number, handler in mine if (place := _place_of(handler, kernel)) is not None]


def _place_of(handler, kernel):
    """Looks at types alone: what a session has made may not like to be looked at."""
    owner = handler.__self__ if type(handler) is Method else handler
    if owner is kernel:
        return None
    name = next((name for name, value in list(kernel.namespace.items()) if value is owner), None)
    if name is None or owner is handler:
        return None if name is None else (name, None)
    bases = type.__dict__["__mro__"].__get__(type(owner))
    methods = (key for base in bases for key, item in _class_dict(base).items() if item is handler.__func__)
    method = next(methods, None)
    return None if method is None else (name, method)


def _restore_handler(place, find):
    """It is the function of the session itself, so the variable is loaded at once."""
    number, name, method = place
    try:
        target = find(name)
        _signal.signal(number, target if method is None else getattr(target, method))
    except Exception:
        pass  # whoever uses the variable is told


def restore(state, first_path, keep_generators, restored):
    """
    Puts them back, with variables of `restored`; a copy of a session does not `keep_generators`: it must not draw the
    original's numbers.
    """
    try:
        posix.chdir(state["directory"])
    except OSError:
        posix.chdir("/workspace")
    sys.path[:] = [entry for entry in sys.path if entry in first_path]
    sys.path += [entry for entry in state["path"] if entry not in sys.path]
    for place in state.get("handlers", ()):
        _restore_handler(place, restored.find)
    restored.outside.restore(state.get("outside", {}))
    _restore_settings(state.get("settings", {}), restored)
    _waiting.update(state["generators"] if keep_generators else {})
    for name in list(_waiting):
        after_import(name, lambda module, name=name: _put_generator(name, module))


def _put_generator(name, module):
    if name in _waiting:
        _SET[name](module, _waiting.pop(name))


def _restore_settings(states, restored):
    if "sys" in states:
        interpreter_settings.put_interpreter(states["sys"])
    states = {settings.NAMED_BEFORE.get(name, name): state for name, state in states.items()}
    _waiting_settings.update({name: state for name, state in states.items() if name in settings.LIBRARIES})
    for name in list(_waiting_settings):
        if name in sys.builtin_module_names:
            __import__(name)
        after_import(name, lambda module, name=name: _put_settings(name, module, restored))


def _put_settings(name, module, restored):
    if name in _waiting_settings:
        state = _waiting_settings.pop(name)
        restored.when_loaded(lambda: settings.put(name, module, state, restored.find))


def reseed():
    """This process is a copy of another one."""
    for name in GENERATORS:
        if name in sys.modules:
            sys.modules[name].seed()
