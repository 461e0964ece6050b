"""Rich values, as IPython.display has them: each offers its forms by methods, and display() shows them."""

import builtins
import os

_results = vars(builtins)["display"].__self__  # of the kernel; what programs make of the name later is theirs


class DisplayHandle:
    """What was displayed with an id, to be changed later."""

    def __init__(self, display_id=None):
        self.display_id = display_id or os.urandom(8).hex()

    def display(self, value, **options):
        display(value, display_id=self.display_id, **options)

    def update(self, value, **options):
        update_display(value, display_id=self.display_id, **options)

    def __repr__(self):
        return f"<DisplayHandle display_id={self.display_id}>"


def display(*values, **options):
    """Shows values; with a `display_id`, or True for a new one, they can be changed by the handle that it answers."""
    return _results.display(*values, **options)


def update_display(value, *, display_id, **options):
    """Puts a value in the place of the one that was displayed with this id."""
    display(value, display_id=display_id, update=True, **options)


def publish_display_data(data, _metadata=None, *, transient=None, update=False):
    """Shows forms by their MIME types."""
    display(data, raw=True, display_id=(transient or {}).get("display_id"), update=update)


def clear_output(wait=False):
    """Takes back what was displayed in this run: now, or when the next is there."""
    _results.clear(wait)


class DisplayObject:
    """A value whose form is its data; a file is read when it is made."""

    _mime_type = "text/plain"
    _is_binary = False

    def __init__(self, data=None, url=None, filename=None, metadata=None):
        if isinstance(data, os.PathLike):
            data, filename = None, data
        self.data, self.url, self.filename, self.metadata = data, url, filename, metadata
        if data is None and filename is not None:
            with open(filename, "rb") as file:
                content = file.read()
            self.data = content if self._is_binary else content.decode()
        if self.data is None and url is None:
            raise TypeError(f"{type(self).__name__} needs data, a file or an address")

    def _repr_mimebundle_(self, **_options):
        return {"text/plain": repr(self), self._mime_type: self.data}

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__qualname__} object>"


class TextDisplayObject(DisplayObject):
    """One whose data is text."""


class Pretty(TextDisplayObject):
    def _repr_mimebundle_(self, **_options):
        return {"text/plain": self.data}


class HTML(TextDisplayObject):
    _mime_type = "text/html"

    def _repr_html_(self):
        return self.data


class Markdown(TextDisplayObject):
    _mime_type = "text/markdown"


class Latex(TextDisplayObject):
    _mime_type = "text/latex"


class Math(Latex):
    def _repr_mimebundle_(self, **_options):
        text = str(self.data).strip("$")
        return {"text/plain": repr(self), "text/latex": f"$\\displaystyle {text}$"}


class SVG(TextDisplayObject):
    _mime_type = "image/svg+xml"


class Javascript(TextDisplayObject):
    """Nothing runs it here: it is shown as text."""

    def _repr_mimebundle_(self, **_options):
        return {"text/plain": str(self.data)}


class Code(TextDisplayObject):
    def __init__(self, data=None, url=None, filename=None, language=None):
        super().__init__(data, url, filename)
        self.language = language or ""

    def _repr_mimebundle_(self, **_options):
        return {"text/plain": self.data, "text/markdown": f"```{self.language}\n{self.data}\n```"}


class JSON(DisplayObject):
    _mime_type = "application/json"

    def __init__(self, data=None, url=None, filename=None, **options):
        super().__init__(data, url, filename)
        self.expanded, self.root = options.get("expanded", False), options.get("root", "root")

    def _repr_mimebundle_(self, **_options):
        return {"text/plain": repr(self), "application/json": self.data}


class Image(DisplayObject):
    """A PNG, JPEG, GIF or SVG; an address is shown by a page, which this server does not fetch."""

    _is_binary = True

    def __init__(self, data=None, url=None, filename=None, **options):
        if isinstance(data, str) and data.startswith(("http://", "https://")):
            data, url = None, data
        elif isinstance(data, str):
            data, filename = None, data
        super().__init__(data, url, filename)
        self.format, self.width, self.height = (options.get(name) for name in ("format", "width", "height"))

    def _repr_mimebundle_(self, **_options):
        size = "".join(
            f' {name}="{value}"' for name, value in (("width", self.width), ("height", self.height)) if value
        )
        if self.data is None:
            return {"text/plain": repr(self), "text/html": f'<img src="{_escaped(self.url)}"{size}>'}
        content = bytes(self.data) if not isinstance(self.data, str) else self.data.encode()
        if content.startswith(b"\x89PNG"):
            return {"text/plain": repr(self), "image/png": content}
        if content.startswith(b"\xff\xd8"):
            return {"text/plain": repr(self), "image/jpeg": content}
        if content.lstrip()[:5] in (b"<svg ", b"<svg>", b"<?xml"):
            return {"text/plain": repr(self), "image/svg+xml": content.decode("utf-8", "replace")}
        import base64

        kind = "gif" if content.startswith(b"GIF8") else str(self.format or "png")
        source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        return {"text/plain": repr(self), "text/html": f'<img src="{source}"{size}>'}


class IFrame:
    def __init__(self, src, width=400, height=300, **_options):
        self.src, self.width, self.height = src, width, height

    def _repr_html_(self):
        return f'<iframe src="{_escaped(self.src)}" width="{self.width}" height="{self.height}"></iframe>'


class FileLink:
    def __init__(self, path, **_options):
        self.path = path

    def __repr__(self):
        return os.path.abspath(self.path)


def _escaped(text):
    from html import escape

    return escape(str(text))


def display_html(*values, raw=False, **_options):
    display(*(HTML(value) if raw else value for value in values))


def display_markdown(*values, raw=False, **_options):
    display(*(Markdown(value) if raw else value for value in values))


def display_svg(*values, raw=False, **_options):
    display(*(SVG(value) if raw else value for value in values))


def display_png(*values, raw=False, **_options):
    display(*(Image(value) if raw else value for value in values))
