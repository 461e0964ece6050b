"""The forms in which a value can be shown: text, HTML, PNG, SVG and so on, as the value offers them.

Forms are {"text": ..., "html": ..., "png": base64, "svg": ..., "markdown": ..., "latex": ..., "json": text}. What the
object does not offer is left out; what is too large is named in "omitted".
"""

import binascii

from matplotlib_support import figure_to_png
from wire import to_json

MAX_TEXT = 256 << 10
MAX_RICH = 4 << 20
MAX_ENCODED = (8 << 20) - 64
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


def forms_of(value):
    forms = {"text": _text_of(value)}
    for name, content in _offered_by(value):
        _put_form(forms, name, content)
    return forms


def forms_by_type(contents):
    """The same of contents by their MIME types."""
    forms = {"text": ""}
    for mime_type, content in contents.items():
        if mime_type in MIME_TYPES:
            _put_form(forms, MIME_TYPES[mime_type], content)
    return forms


def encode(result):
    """Forms, and what else is said of them, as JSON: within the limit, for which the largest forms are left out."""
    content = to_json(result)
    while len(content) > MAX_ENCODED:
        largest = max(MIME_TYPES.values(), key=lambda name: len(to_json(result.get(name, ""))))
        result = {name: part for name, part in result.items() if name != largest} | {"text": result["text"]}
        if largest == "text":
            result["text"] = ""
        result["omitted"] = [*result.get("omitted", ()), largest]
        content = to_json(result)
    return content


def _offered_by(value):
    if isinstance(value, type):
        return
    png = figure_to_png(value)
    if png is not None:
        yield "png", png
        return
    bundle = _call(value, "_repr_mimebundle_")
    if isinstance(bundle, dict):
        for mime_type, content in bundle.items():
            if mime_type in MIME_TYPES:
                yield MIME_TYPES[mime_type], content
    for name, method in METHODS.items():
        yield name, _call(value, method)


def _put_form(forms, name, content):
    if isinstance(content, (bytes, bytearray)):
        content = binascii.b2a_base64(bytes(content), newline=False).decode()
    elif name == "json":
        content = _json_text(content)
    if type(content) is not str or (name in forms and name != "text"):
        return
    if len(content) > MAX_RICH:
        forms.setdefault("omitted", []).append(name)
    else:
        forms[name] = _sound(content)


def _json_text(value):
    """JSON as text: whoever reads it parses it where it is wanted."""
    if type(value) is str or value is None:
        return value
    import json

    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None


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
    return _sound(text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "...")


def _sound(text):
    return text.encode("utf-8", "backslashreplace").decode()
