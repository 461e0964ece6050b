"""Settings of the interpreter and of common libraries, which programs change without a variable: found, named, put
back.

For each module, what tells its settings that differ from those it begins with, as plain values, and what sets them. A
module that is not imported has none; what was saved of it is put back when it is.
"""

import posix
import sys
import warnings
from _io import TextIOWrapper

from workspace_modules import file_of

ATOMS = (str, int, float, bool, bytes, type(None))
MAX_DEPTH = 6
MAX_NAMED = 50
MAX_NAME = 200
MAX_REASON = 300

failures = {}  # of settings that could not be put back: name -> reason


def capture(namespace):
    """(states by module, what cannot be kept by name)."""
    unkept = Unkept(namespace)
    states = {"sys": _interpreter(unkept)}
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
        state = {key: value for key, value in state.items() if _is_kept(f"{name}: {key}", value, unkept)}
        if state:
            states[name] = state
    return states, {name[:MAX_NAME]: reason[:MAX_REASON] for name, reason in list(unkept.items())[:MAX_NAMED]}


def put(name, module, state, find):
    with attempt(name):
        LIBRARIES[name][1](module, state, find)


class attempt:
    """What cannot be put back is named; what comes after it is put back all the same."""

    def __init__(self, name):
        self._name = name

    def __enter__(self):
        pass

    def __exit__(self, _kind, error, _traceback):
        if isinstance(error, Exception):
            failures[self._name] = f"it could not be put back: {type(error).__name__}: {error}"[:MAX_REASON]
        return isinstance(error, Exception)


class Unkept(dict):
    """Settings that cannot be kept: name -> reason; and the variables of the session, which may be what is set."""

    def __init__(self, namespace):
        super().__init__(failures)
        self.namespace = namespace


def _is_kept(name, value, unkept):
    if not _is_plain(value):
        unkept[name] = "its value is neither a number, a text, nor a list of them"
    return name not in unkept


def _is_plain(value, depth=MAX_DEPTH):
    kind = type(value)
    if kind in ATOMS:
        return True
    if depth == 0 or kind not in (tuple, list, dict):
        return False
    items = [*value.keys(), *value.values()] if kind is dict else value
    return all(_is_plain(item, depth - 1) for item in items)


# The interpreter.


def _interpreter(unkept):
    mask = posix.umask(0o077)
    posix.umask(mask)
    return {
        "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "switching": sys.getswitchinterval(),
        "umask": mask,
        "warnings": _encoded_filters(unkept),
    }


def put_interpreter(state):
    with attempt("recursion limit"):
        sys.setrecursionlimit(state["recursion"])
    sys.set_int_max_str_digits(state["digits"])
    sys.setswitchinterval(state["switching"])
    posix.umask(state["umask"])
    decoded = []
    for entry in state["warnings"]:
        with attempt(f"warnings: filter of {entry[2][1]}"):
            decoded.append(_decoded_filter(entry))
    keep_filters(decoded)


def filters() -> list[tuple]:
    return list(warnings.filters)


def keep_filters(wanted):
    """An import may have added its own, which had their place in the list already."""
    if warnings.filters != wanted:
        vars(warnings)["filters"][:] = wanted
        vars(warnings)["_filters_mutated"]()


def _encoded_filters(unkept):
    encoded = []
    for entry in filters():
        try:
            action, message, category, module, line = entry
            names = category.__module__, category.__qualname__
            plain = (action, _encoded_pattern(message), names, _encoded_pattern(module), line)
        except Exception:
            plain, names = None, None  # the program has put there what it likes
        if plain is None or names is None or not _is_plain(plain) or names[0] == "__main__":
            unkept[f"warnings: filter of {names and names[1]}"] = "it is a part of the program"
        else:
            encoded.append(plain)
    return encoded


def _encoded_pattern(pattern):
    return pattern if type(pattern) in (str, type(None)) else (pattern.pattern, pattern.flags)


def _decoded_filter(entry):
    action, message, (module, names), source, line = entry
    __import__(module)
    category = sys.modules[module]
    for name in names.split("."):
        category = getattr(category, name)
    return action, _pattern(message), category, _pattern(source), line


def _pattern(encoded):
    if type(encoded) is not tuple:
        return encoded
    import re

    return re.compile(*encoded)


# Libraries.


def _get_decimal(module, _unkept):
    context = module.getcontext()
    fields = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
    names = {
        kind: [signal.__name__ for signal, is_set in getattr(context, kind).items() if is_set]
        for kind in ("flags", "traps")
    }
    return {**{name: getattr(context, name) for name in fields}, **names}


def _put_decimal(module, state, _find):
    signals = {kind: [getattr(module, name) for name in state.pop(kind)] for kind in ("flags", "traps")}
    module.setcontext(module.Context(**state, **signals))


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
    return {name: {field: getattr(module.get_dialect(name), field) for field in DIALECT} for name in own}


def _put_csv(module, state, _find):
    for name, fields in state.items():
        module.register_dialect(name, **fields)


OF_HANDLERS = {
    "filters",
    "_name",
    "level",
    "formatter",
    "_closed",
    "lock",
    "stream",
    "baseFilename",
    "mode",
    "encoding",
    "errors",
    "delay",
    "_builtin_open",
}
LEVELS = {"CRITICAL", "FATAL", "ERROR", "WARN", "WARNING", "INFO", "DEBUG", "NOTSET"}


def _get_logging(module, unkept):
    root = module.getLogger()
    loggers = {
        "": root,
        **{name: item for name, item in list(root.manager.loggerDict.items()) if isinstance(item, module.Logger)},
    }
    found, kept = {}, {}  # id of a handler -> how it is made again: two loggers may share one
    for name, logger in loggers.items():
        place = f"logging: handlers of {name or 'root'}"
        handlers = [item for item in logger.handlers if type(item) is not module.NullHandler]
        for item in handlers:
            if id(item) not in kept and (how := _handler(module, item, place, unkept)) is not None:
                kept[id(item)] = how
        if logger.filters:
            unkept[f"logging: filters of {name or 'root'}"] = "a filter is a part of the program"
        is_usual = (
            logger.level == (module.WARNING if logger is root else module.NOTSET)
            and logger.propagate
            and not logger.disabled
        )
        if handlers or not is_usual:
            found[name] = (
                logger.level,
                logger.propagate,
                logger.disabled,
                [id(item) for item in handlers if id(item) in kept],
            )
    if any(type(item) not in (module.Logger, module.RootLogger) for item in loggers.values()):
        unkept["logging: classes of loggers"] = "a class of loggers is a part of the program"
    if module.getLogRecordFactory() is not module.LogRecord:
        unkept["logging: the factory of records"] = "it is a part of the program"
    names = {level: name for level, name in module._levelToName.items() if name not in LEVELS}
    state = {"loggers": found, "handlers": kept, "names": names, "disable": root.manager.disable}
    if module._warnings_showwarning is not None:
        state["captures"] = True
    return {key: value for key, value in state.items() if value}


def _handler(module, handler, place, unkept):
    """What makes such a handler again; None, and named, for what a program has made up itself."""
    variable = next((name for name, value in list(unkept.namespace.items()) if value is handler), None)
    if variable is not None:
        return "variable", variable, None, None
    formatter = handler.formatter
    plain = formatter is None or (
        vars(formatter).keys() <= {"_style", "_fmt", "datefmt"} and not formatter._style._defaults
    )
    has_more = not vars(handler).keys() <= OF_HANDLERS or handler.name is not None or getattr(handler, "errors", None)
    is_usual = type(formatter) in (module.Formatter, type(None)) and plain and not has_more and not handler.filters
    form = (
        None if formatter is None else (formatter._fmt, formatter.datefmt, _STYLES.get(type(formatter._style).__name__))
    )
    if is_usual and type(handler) is module.FileHandler:
        return "file", (handler.baseFilename, handler.mode, handler.encoding, handler.delay), handler.level, form
    if is_usual and type(handler) is module.StreamHandler and (stream := _standard(handler.stream)) is not None:
        return "stream", stream, handler.level, form
    unkept[place] = "only handlers of files and of the standard streams can be made again"
    return None


def _standard(stream):
    """Each run has objects of its own for them."""
    if type(stream) is not TextIOWrapper or stream.closed:
        return None
    return {1: "stdout", 2: "stderr"}.get(stream.fileno())


_STYLES = {"PercentStyle": "%", "StrFormatStyle": "{", "StringTemplateStyle": "$"}


def _put_logging(module, state, find):
    made = {}
    for level, name in state.get("names", {}).items():
        module.addLevelName(level, name)
    module.disable(state.get("disable", 0))
    if state.get("captures"):
        module.captureWarnings(True)
    for name, (level, propagate, disabled, handlers) in state.get("loggers", {}).items():
        logger = module.getLogger(name)
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        for handler in handlers:
            with attempt(f"logging: a handler of {name or 'root'}"):
                if handler not in made:
                    made[handler] = _made_handler(module, find, state["handlers"][handler])
                logger.addHandler(made[handler])


def _made_handler(module, find, how):
    kind, what, level, form = how
    if kind == "variable":
        return find(what)
    if kind == "file":
        path, mode, encoding, delay = what
        handler = module.FileHandler(path, "a" if mode == "w" else mode, encoding, delay)
        handler.mode = mode
    else:
        handler = module.StreamHandler(getattr(sys, what))
    handler.setLevel(level)
    if form is not None:
        handler.setFormatter(module.Formatter(*form))
    return handler


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


# By the module that has them: what tells the settings of the module, and what sets them.
LIBRARIES = {
    "decimal": (_get_decimal, _put_decimal),
    "locale": (_get_locale, _put_locale),
    "csv": (_get_csv, _put_csv),
    "logging": (_get_logging, _put_logging),
    "numpy": (_get_numpy, _put_numpy),
    "pandas": (_get_pandas, _put_pandas),
    "matplotlib": (_get_matplotlib, _put_matplotlib),
}
