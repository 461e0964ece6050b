"""Settings that can be kept by name, and those that cannot: which values are plain, and what could not be put back."""

ATOMS = (str, int, float, bool, bytes, type(None))
MAX_DEPTH = 6
MAX_REASON = 300

failures = {}  # of settings that could not be put back: name -> reason


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


def is_kept(name, value, unkept):
    if not is_plain(value):
        unkept[name] = "its value is neither a number, a text, nor a list of them"
    return name not in unkept


def is_plain(value, depth=MAX_DEPTH):
    kind = type(value)
    if kind in ATOMS:
        return True
    if depth == 0 or kind not in (tuple, list, dict):
        return False
    items = [*value.keys(), *value.values()] if kind is dict else value
    return all(is_plain(item, depth - 1) for item in items)
