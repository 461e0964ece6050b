"""Settings of logging: levels, and handlers of kinds that can be made again."""

import sys
from _io import TextIOWrapper

from unkept import attempt

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


def get_logging(module, unkept):
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


def put_logging(module, state, find):
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
