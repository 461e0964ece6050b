"""A value as JSON: exactly, or not at all. Frames are {"columns", "index", "data", "dtypes"}, where null is a missing
value of any kind; series {"name", "index", "data", "dtype"}; arrays nested lists; times text as ISO 8601 has it."""

import json
import sys
from math import isfinite

# The text of more would be too long in any case.
MAX_ITEMS = 4 << 20


class NotJson(Exception):
    """The value, or something in it, has no form in JSON that says the same."""


def exact_json(value):
    """Raises NotJson."""
    try:
        return json.dumps(_Encoder().of_any(value), allow_nan=False)
    except RecursionError:
        raise NotJson("it is nested too deep") from None


class _Encoder:
    def __init__(self):
        self._room = MAX_ITEMS

    def of_any(self, value):
        kind = type(value)
        if value is None or kind in (str, bool, int):
            return value
        if kind is float:
            return _finite(value)
        if is_of(value, "pandas", "DataFrame"):
            return self._of_frame(value)
        if is_of(value, "pandas", "Series"):
            parts = {"index": self._of_index(value.index), "data": self._of_column(value)}
            return {"name": self._of_label(value.name), **parts, "dtype": str(value.dtype)}
        if is_of(value, "numpy", "ndarray", "generic"):
            return self._of_array(value)
        return self._of_plain(value)

    def _of_plain(self, value):
        if isinstance(value, dict):
            self._count(len(value))
            return {_text_key(key): self.of_any(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            self._count(len(value))
            return [self.of_any(item) for item in value]
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return _finite(float(value))
        raise NotJson(f"a {type(value).__name__} in it is not JSON")

    def _count(self, items):
        self._room -= items
        if self._room < 0:
            raise NotJson(f"it has more than {MAX_ITEMS} items: ask for a part of it")

    def _of_array(self, value):
        self._count(value.size)
        kind = value.dtype.kind
        if kind == "M":
            import numpy

            return _nested(numpy.datetime_as_string(value).tolist(), lambda text: None if text == "NaT" else text)
        if kind not in "biufUO" or (value.dtype.itemsize > 8 and kind == "f"):
            raise NotJson(f"an array of {value.dtype} is not JSON")
        return self.of_any(value.tolist()) if kind == "O" else _nested(value.tolist(), _finite)

    def _of_frame(self, frame):
        columns = [self._of_column(frame.iloc[:, at]) for at in range(frame.shape[1])]
        return {
            "columns": self._of_index(frame.columns),
            "index": self._of_index(frame.index),
            "data": [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(len(frame))],
            "dtypes": [str(dtype) for dtype in frame.dtypes],
        }

    def _of_index(self, index):
        self._count(len(index))
        return [self._of_label(label) for label in index.tolist()]

    def _of_label(self, label):
        return [self._of_cell(part) for part in label] if type(label) is tuple else self._of_cell(label)

    def _of_column(self, series):
        self._count(len(series))
        return [self._of_cell(value) for value in series.tolist()]

    def _of_cell(self, value):
        """A missing one is null; times are told as text, which their column's dtype names."""
        import datetime

        pandas = sys.modules["pandas"]
        if value is pandas.NA or value is pandas.NaT or _is_nan(value):
            return None
        times = (datetime.datetime, datetime.date, datetime.time, pandas.Timedelta)
        return value.isoformat() if isinstance(value, times) else self.of_any(value)


def _is_nan(value):
    return type(value) is float and value != value


def _finite(value):
    if type(value) is float and not isfinite(value):
        raise NotJson(f"{value} is no number of JSON")
    return value


def _text_key(key):
    if not isinstance(key, str):
        raise NotJson(f"a {type(key).__name__} as a key is not JSON: {key!r:.40}")
    return str.__str__(key)


def _nested(value, change):
    return [_nested(item, change) for item in value] if type(value) is list else change(value)


def is_of(value, module, *names):
    """Whether it is of a class of a library, which is not imported for the question."""
    library = sys.modules.get(module)
    return library is not None and any(isinstance(value, getattr(library, name)) for name in names)
