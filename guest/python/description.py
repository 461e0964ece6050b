"""A variable in a few words, without calling anything that the session defined."""

MAX_CHARS = 80
PLAIN = (int, float, complex, bool, type(None), str, bytes, bytearray)
SIZED = (list, dict, tuple, set, frozenset)
MAX_BITS = 256


def name_of_kind(value):
    kind = type(value)
    module = type.__getattribute__(kind, "__module__") if type(kind) is type else ""
    name = type.__getattribute__(kind, "__name__")
    return name if module in ("builtins", "__main__", "") or type(module) is not str else f"{module}.{name}"


def describe(value):
    kind = type(value)
    if kind is int and value.bit_length() > MAX_BITS:
        return f"<int of {value.bit_length()} bits>"
    if kind in (str, bytes, bytearray):
        return repr(value[:MAX_CHARS]) + ("..." if len(value) > MAX_CHARS else "")
    if kind in PLAIN:
        return repr(value)
    if kind in SIZED:
        return _describe_container(value)
    name = name_of_kind(value)
    if name in ("numpy.ndarray", "pandas.core.frame.DataFrame", "pandas.core.series.Series"):
        return f"<{name} of shape {tuple(value.shape)}>"
    if issubclass(type(value), type):
        return f"<class {type.__getattribute__(value, '__name__')}>"
    if name == "function":
        return f"<function {value.__name__}>"
    return f"<{name}>"


def _describe_container(value):
    if len(value) <= 8:
        items = list(value.items()) if type(value) is dict else list(value)
        flat = [part for item in items for part in item] if type(value) is dict else items
        if all(type(part) in PLAIN and (type(part) is not int or part.bit_length() <= MAX_BITS) for part in flat):
            text = repr(value)
            if len(text) <= MAX_CHARS:
                return text
    return f"<{type(value).__name__} of {len(value)}>"
