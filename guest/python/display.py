"""Rich values: what a run's last expression, or a call of display(), looks like as text, HTML, PNG, SVG and so on.

A result is {"main": bool, "text": ..., "html": ..., "png": base64, "svg": ..., "markdown": ..., "latex": ...}; formats
that the object does not offer, or that are too large, are left out and the latter named in "omitted".
"""

import binascii

from wire import to_json

MAX_TEXT = 256 << 10
MAX_RICH = 4 << 20
MAX_ALL = 8 << 20
MAX_ITEMS = 1_000
METHODS = {
    "html": "_repr_html_",
    "svg": "_repr_svg_",
    "png": "_repr_png_",
    "jpeg": "_repr_jpeg_",
    "markdown": "_repr_markdown_",
    "latex": "_repr_latex_",
}


class Results:
    """Collects the results of one run."""

    def __init__(self, figure_to_png):
        self._figure_to_png = figure_to_png
        self.items = []
        self._size = 0

    def take(self):
        """The results as JSON, in bytes within the limit; the collection is empty afterwards."""
        items, self.items, self._size = self.items, [], 0
        encoded = to_json(items) if items else b""
        while len(encoded) > MAX_ALL:
            items.pop()
            encoded = to_json(items) if items else b""
        return encoded

    def add(self, value, main=False):
        result = {"main": main, "text": _text_of(value)}
        omitted = []
        for format_name, content in self._formats(value):
            if len(content) > MAX_RICH:
                omitted.append(format_name)
            else:
                result[format_name] = content
        if omitted:
            result["omitted"] = omitted
        self._size += sum(len(part) for part in result.values() if type(part) is str)
        if self._size <= MAX_ALL and len(self.items) < MAX_ITEMS:
            self.items.append(result)

    def _formats(self, value):
        if isinstance(value, type):
            return
        png = self._figure_to_png(value)
        if png is not None:
            yield "png", _base64(png)
            return
        for format_name, method in METHODS.items():
            content = _call(value, method)
            if type(content) is bytes:
                content = _base64(content)
            if type(content) is str:
                yield format_name, content


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
