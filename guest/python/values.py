"""The value of one variable in one form, as the API gives it out.

An answer is {"text": what of it was asked for, "json": {"type", "length", "shape"} as text}.
"""

import io
import json

from exact_json import NotJson, exact_json, is_of
from forms import MAX_ENCODED, forms_of
from wire import to_json

MAX_ABOUT = 1_024


class NoSuchVariable(LookupError):
    """There is no variable of this name."""


class NoSuchForm(LookupError):
    """The value does not offer the form, or it is too large."""


def show(namespace, name, form, part):
    """`part`: the first row or item, and how many; None for all. Raises LookupError."""
    if name not in namespace:
        raise NoSuchVariable(f"There is no variable {name!r}")
    value = namespace[name]
    about = {"type": type(value).__name__, "length": _length_of(value), "shape": _shape_of(value)}
    text = _FORMS.get(form, _rich(form))(_part_of(value, *part))
    answer = {"text": text.encode("utf-8", "backslashreplace").decode(), "json": json.dumps(about)}
    size = len(to_json(answer)) + MAX_ABOUT if len(text) <= MAX_ENCODED else len(text)
    if size > MAX_ENCODED:
        raise NoSuchForm(f"{name!r} takes {size} bytes as {form}, of {MAX_ENCODED} at most: ask for a part of it")
    return answer


def _length_of(value):
    try:
        return len(value)
    except Exception:
        return None


def _shape_of(value):
    shape = getattr(value, "shape", None)
    return list(shape) if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape) else None


def _part_of(value, start, count):
    if start == 0 and count is None:
        return value
    stop = None if count is None else start + count
    if is_of(value, "pandas", "DataFrame", "Series"):
        return value.iloc[start:stop]
    if isinstance(value, dict):
        return dict(list(value.items())[start:stop])
    if isinstance(value, (set, frozenset)):
        return list(value)[start:stop]
    try:
        return value[start:stop]
    except Exception as cause:
        raise NoSuchForm(f"a {type(value).__name__} has no parts") from cause


def _json(value):
    try:
        return exact_json(value)
    except NotJson as cause:
        raise NoSuchForm(f"a {type(value).__name__} is not JSON: {cause}") from cause


def _text(value):
    return value if isinstance(value, str) else repr(value)


def _csv(value):
    if is_of(value, "pandas", "DataFrame", "Series"):
        return value.to_csv()
    if is_of(value, "numpy", "ndarray"):
        value = value.tolist()
    import csv

    rows = value if isinstance(value, (list, tuple)) else None
    if rows is None:
        raise NoSuchForm(f"a {type(value).__name__} is no table")
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow(row if isinstance(row, (list, tuple)) else [row])
    return out.getvalue()


def _rich(form):
    def render(value):
        content = forms_of(value).get(form)
        if content is None:
            raise NoSuchForm(f"a {type(value).__name__} offers no {form}")
        return content

    return render


_FORMS = {"json": _json, "text": _text, "csv": _csv}
