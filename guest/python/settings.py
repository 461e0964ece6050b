"""Settings of the interpreter and of common libraries, which programs change without a variable: found, named, put
back.

For each module, what tells its settings that differ from those it begins with, as plain values, and what sets them. A
module that is not imported has none; what was saved of it is put back when it is.
"""

import sys

from environment import ZONE_AT_START
from interpreter_settings import get_interpreter
from logging_settings import get_logging, put_logging
from unkept import MAX_REASON, Unkept, attempt, is_kept
from workspace_modules import file_of

MAX_NAMED = 50
MAX_NAME = 200


def capture(namespace):
    """(states by module, what cannot be kept by name)."""
    unkept = Unkept(namespace)
    states = {"sys": get_interpreter(unkept)}
    for name, (get, _) in LIBRARIES.items():
        if name not in sys.modules:
            continue
        module = sys.modules[name]
        if file_of(module) is not None:
            continue  # the program's own has that name
        try:
            state = get(module, unkept)
        except Exception as error:
            unkept[name] = f"its settings cannot be told: {type(error).__name__}: {error}"
            continue
        state = {key: value for key, value in state.items() if is_kept(f"{name}: {key}", value, unkept)}
        if state:
            states[name] = state
    return states, {name[:MAX_NAME]: reason[:MAX_REASON] for name, reason in list(unkept.items())[:MAX_NAMED]}


def put(name, module, state, find):
    with attempt(name):
        LIBRARIES[name][1](module, state, find)


# Libraries.


CONTEXT = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _get_decimal(module, unkept):
    current = module.getcontext()
    variable = next((name for name, value in list(unkept.namespace.items()) if value is current), None)
    return {**_context(current), "default": _context(module.DefaultContext), "variable": variable}


def _context(context):
    names = {
        kind: [signal.__name__ for signal, is_set in getattr(context, kind).items() if is_set]
        for kind in ("flags", "traps")
    }
    return {**{name: getattr(context, name) for name in CONTEXT}, **names}


def _put_decimal(module, state, find):
    if state.get("default") is not None:
        _put_context(module.DefaultContext, state["default"])
    variable = state.get("variable")
    context = module.Context() if variable is None else find(variable)
    _put_context(context, state)
    module.setcontext(context)


def _put_context(context, state):
    for kind in ("flags", "traps"):
        signals = getattr(context, kind)
        for signal in list(signals):
            signals[signal] = signal.__name__ in state[kind]
    for name in CONTEXT:
        setattr(context, name, state[name])


def _get_locale(module, _unkept):
    return {"all": module.setlocale(module.LC_ALL)}


def _put_locale(module, state, _find):
    module.setlocale(module.LC_ALL, state["all"])


DIALECT = (
    "delimiter",
    "doublequote",
    "escapechar",
    "lineterminator",
    "quotechar",
    "quoting",
    "skipinitialspace",
    "strict",
)


def _get_csv(module, _unkept):
    own = [name for name in module.list_dialects() if name not in ("excel", "excel-tab", "unix")]
    dialects = {name: {field: getattr(module.get_dialect(name), field) for field in DIALECT} for name in own}
    return {"dialects": dialects, "limit": module.field_size_limit()}


def _put_csv(module, state, _find):
    module.field_size_limit(state.get("limit", module.field_size_limit()))
    for name, fields in state.get("dialects", state).items():  # an older version has saved dialects alone
        module.register_dialect(name, **fields)


def _get_gc(module, _unkept):
    return {"enabled": module.isenabled(), "threshold": module.get_threshold()}


def _put_gc(module, state, _find):
    (module.enable if state["enabled"] else module.disable)()
    module.set_threshold(*state["threshold"])


def _get_socket(module, _unkept):
    return {"timeout": module.getdefaulttimeout()}


def _put_socket(module, state, _find):
    module.setdefaulttimeout(state["timeout"])


def _get_time(module, unkept):
    """Each run begins with the environment that it was given: what names the zone may be gone."""
    if module.tzname != ZONE_AT_START:
        unkept["time: tzset"] = "the time zone of the process begins anew: call tzset() with TZ set"
    return {}


def _put_time(_module, _state, _find):
    pass


def _get_numpy(module, unkept):
    if module.geterrcall() is not None:
        unkept["numpy: seterrcall"] = "it is a part of the program"
    printing = {key: value for key, value in module.get_printoptions().items() if value is not None}
    return {"printing": printing, "errors": module.geterr()}


def _put_numpy(module, state, _find):
    module.set_printoptions(**state.get("printing", {}))
    module.seterr(**state.get("errors", {}))


def _get_pandas(module, _unkept):
    registered = module._config.config._registered_options
    return {
        key: value
        for key, value in _leaves(module._config.config._global_config, "")
        if not _same(value, registered[key].defval)
    }


def _leaves(branch, path):
    for name, item in branch.items():
        if type(item) is dict:
            yield from _leaves(item, f"{path}{name}.")
        else:
            yield path + name, item


def _same(one, other):
    return one is other or (type(one) is type(other) and one == other)


def _put_pandas(module, state, _find):
    for key, value in state.items():
        with attempt(f"pandas: {key}"):
            module.set_option(key, value)


def _get_matplotlib(module, _unkept):
    usual = module.rcParamsDefault
    changed = {
        key: value
        for key, value in dict.items(module.rcParams)
        if key not in usual or not _same(value, dict.get(usual, key))
    }
    changed.pop("backend", None)
    return {key: ("cycle", value.by_key()) if key == "axes.prop_cycle" else value for key, value in changed.items()}


def _put_matplotlib(module, state, _find):
    for key, value in state.items():
        with attempt(f"matplotlib: {key}"):
            module.rcParams[key] = sys.modules["cycler"].cycler(**value[1]) if key == "axes.prop_cycle" else value


# By the module that has them, below those that only pass them on: what tells the settings, and what sets them.
NAMED_BEFORE = {"csv": "_csv", "decimal": "_decimal"}  # in what an older version has saved
LIBRARIES = {
    "_decimal": (_get_decimal, _put_decimal),
    "locale": (_get_locale, _put_locale),
    "_csv": (_get_csv, _put_csv),
    "gc": (_get_gc, _put_gc),
    "_socket": (_get_socket, _put_socket),
    "time": (_get_time, _put_time),
    "logging": (get_logging, put_logging),
    "numpy": (_get_numpy, _put_numpy),
    "pandas": (_get_pandas, _put_pandas),
    "matplotlib": (_get_matplotlib, _put_matplotlib),
}
