"""Rich values: what a run's last expression, or a call of display(), looks like as text, HTML, PNG, SVG and so on.

A result is {"main": bool, "text": ..., "html": ..., "png": base64, "svg": ..., "markdown": ..., "latex": ...,
"json": ...}; formats that the object does not offer, or that are too large, are left out and the latter named in
"omitted". One that has a "display_id" takes the place of an earlier one with that id.
"""

import binascii

from wire import to_json

MAX_TEXT = 256 << 10
MAX_RICH = 4 << 20
MAX_ALL = 8 << 20
MAX_ITEMS = 1_000
MAX_ID = 200
METHODS = {
    "html": "_repr_html_",
    "svg": "_repr_svg_",
    "png": "_repr_png_",
    "jpeg": "_repr_jpeg_",
    "markdown": "_repr_markdown_",
    "latex": "_repr_latex_",
}
MIME_TYPES = {
    "text/plain": "text",
    "text/html": "html",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "text/markdown": "markdown",
    "text/latex": "latex",
    "application/json": "json",
}


class Results:
    """Collects the results of one run; `show(result)`, as JSON, is called for each that is displayed on the way."""

    def __init__(self, figure_to_png, show):
        self._figure_to_png = figure_to_png
        self._show = show
        self.items = []
        self._size = 0
        self._clears_with_next = False
        self.last = None  # the value of the last expression

    def take(self):
        """The results as JSON, in bytes within the limit; the collection is empty afterwards."""
        items, self.items, self._size = self.items, [], 0
        self._clears_with_next = False
        encoded = to_json(items) if items else b""
        while len(encoded) > MAX_ALL:
            items.pop()
            encoded = to_json(items) if items else b""
        return encoded

    def add(self, value):
        """The value of a last expression."""
        self.last = value
        self._keep({"main": True, **self._formats_of(value)})

    def display(self, *values, display_id=None, update=False, **_options):
        """Adds each value to the run's results, in the richest form that it offers."""
        for value in values:
            result = {"main": False, **self._formats_of(value)}
            if display_id is not None:
                result["display_id"] = str(display_id)[:MAX_ID].encode("utf-8", "backslashreplace").decode()
            self._put(result, update)

    def display_formats(self, formats, display_id=None, update=False):
        """The same for a value whose formats are known by their MIME types."""
        result = {"main": False, "text": ""}
        for mime_type, content in formats.items():
            name = MIME_TYPES.get(mime_type)
            if name is not None:
                _put_format(result, name, content)
        if display_id is not None:
            result["display_id"] = str(display_id)[:MAX_ID]
        self._put(result, update)

    def clear(self, wait=False):
        """What was displayed in this run is taken back: now, or when the next is there."""
        if wait:
            self._clears_with_next = True
        else:
            self._clear()
            self._show(to_json({"clear": True}))

    def _put(self, result, update):
        clears, self._clears_with_next = self._clears_with_next, False
        if clears:
            self._clear()
        is_there = self._replace(result)
        if update and not is_there:
            return
        if not is_there:
            self._keep(result)
        self._show(to_json({**result, "clear": True} if clears else result))

    def _clear(self):
        self.items, self._size = [], 0

    def _replace(self, result):
        """All that has the same id looks like this one from now on."""
        name = result.get("display_id")
        places = [at for at, item in enumerate(self.items) if name is not None and item.get("display_id") == name]
        for at in places:
            self._size += _size_of(result) - _size_of(self.items[at])
            self.items[at] = result
        return bool(places)

    def _keep(self, result):
        self._size += _size_of(result)
        if self._size <= MAX_ALL and len(self.items) < MAX_ITEMS:
            self.items.append(result)

    def _formats_of(self, value):
        result = {"text": _text_of(value)}
        for format_name, content in self._formats(value):
            _put_format(result, format_name, content)
        return result

    def _formats(self, value):
        if isinstance(value, type):
            return
        png = self._figure_to_png(value)
        if png is not None:
            yield "png", png
            return
        bundle = _call(value, "_repr_mimebundle_")
        if isinstance(bundle, dict):
            for mime_type, content in bundle.items():
                if mime_type in MIME_TYPES:
                    yield MIME_TYPES[mime_type], content
        for format_name, method in METHODS.items():
            yield format_name, _call(value, method)


def _put_format(result, name, content):
    if isinstance(content, (bytes, bytearray)):
        content = _base64(bytes(content))
    elif name == "json":
        content = _json_text(content)
    if type(content) is not str or (name in result and name != "text"):
        return
    if len(content) > MAX_RICH:
        result.setdefault("omitted", []).append(name)
    else:
        result[name] = content.encode("utf-8", "backslashreplace").decode()


def _json_text(value):
    """JSON as text: whoever reads it parses it where it is wanted."""
    if type(value) is str or value is None:
        return value
    import json

    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return None


def _size_of(result):
    return sum(len(part) for part in result.values() if type(part) is str)


def _base64(content):
    return binascii.b2a_base64(content, newline=False).decode()


def _call(value, method):
    """What a representation method answers, or None; a failing one must not fail the run that has succeeded."""
    try:
        function = getattr(value, method, None)
        content = function() if callable(function) else None
    except Exception:
        return None
    return content[0] if type(content) is tuple and content else content


def _text_of(value):
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__}: its repr() raised {type(error).__name__}>"
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "..."
    return text.encode("utf-8", "backslashreplace").decode()
