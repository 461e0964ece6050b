"""What a run shows: the value of its last expression, and what it hands to display().

A result is {"main": bool, ...forms}: see forms.py. One that has a "display_id" takes the place of an earlier one with
that id.
"""

from posix import getpid, urandom

from forms import MAX_ENCODED, MIME_TYPES, encode, forms_by_type, forms_of
from wire import to_json

MAX_ALL = MAX_ENCODED
MAX_ITEMS = 1_000
MAX_ID = 200


class Results:
    """Collects the results of one run; `show(result)`, as JSON, is called for each that is displayed on the way."""

    def __init__(self, show):
        self._show = show
        self._pid = getpid()
        self._is_open = False  # while a run is in progress
        self._empty()

    def _empty(self):
        self.capture = None  # a list, which is given what is displayed in place of the run
        self._clear_all()
        self._main = None
        self._left_out = 0
        self._clears_with_next = False

    def begin(self):
        self._empty()
        self._is_open = True

    def end(self):
        """The results as a JSON list, in bytes within the limit, and how many have no room in it."""
        self._is_open = False
        own = [] if self._main is None else [self._main]
        most = MAX_ALL - sum(map(_room_of, own))
        while self._items and (self._size > most or len(self._items) + len(own) > MAX_ITEMS):
            self._size -= _room_of(self._items.pop()[1])
            self._left_out += 1
        items, left_out = [content for _, content in self._items] + own, self._left_out
        self._empty()
        return b"[" + b",".join(items) + b"]" if items else b"", left_out

    def put_main(self, forms):
        """The value that the run itself has."""
        self._main = encode({"main": True, **forms})

    def add(self, value):
        """The same for any value."""
        self.put_main(forms_of(value))

    def display(self, *values, display_id=None, update=False, raw=False, clear=False, **_options):
        """
        Shows each value in the richest form that it offers, at once and among the run's results. With an id, or True
        for a new one, the handle that it answers puts other values in its place; `raw`: values are contents by their
        MIME types.
        """
        if clear:
            self.clear(wait=True)
        name = None if display_id is None or display_id is False else _name_of(display_id)
        for value in values:
            forms = forms_by_type(value) if raw else forms_of(value)
            self._put({"main": False, **forms, **({} if name is None else {"display_id": name})})
        if name is None or update:
            return None
        from IPython.display import DisplayHandle

        return DisplayHandle(name)

    def clear(self, wait=False):
        """What was displayed in this run is taken back: now, or when the next is there."""
        if self.capture is not None:
            self.capture.clear()
        elif wait:
            self._clears_with_next = True
        elif self._is_seen:
            self._clear_all()
            self._show(to_json({"clear": True}))

    @property
    def _is_seen(self):
        """Not what a thread of an earlier run displays between two, or a process of the program's own."""
        return self._is_open and getpid() == self._pid

    def _clear_all(self):
        self._items = []  # (id or None, JSON)
        self._size = 0

    def _put(self, result):
        if self.capture is not None:
            self.capture.append({kind: result[name] for kind, name in MIME_TYPES.items() if name in result})
            return
        if not self._is_seen:
            print(result["text"] + "\n", end="")  # in one piece, whoever prints beside it
            return
        clears, self._clears_with_next = self._clears_with_next, False
        if clears:
            self._clear_all()
        content = encode(result)
        if not self._replace(result.get("display_id"), content):
            self._keep(result.get("display_id"), content)
        self._show(encode({**result, "clear": True}) if clears else content)

    def _replace(self, name, content):
        """All that has the same id looks like this one from now on."""
        places = [at for at, (other, _) in enumerate(self._items) if name is not None and other == name]
        for at in places:
            self._size += len(content) - len(self._items[at][1])
            self._items[at] = name, content
        return bool(places)

    def _keep(self, name, content):
        if self._size + _room_of(content) > MAX_ALL or len(self._items) >= MAX_ITEMS:
            self._left_out += 1
        else:
            self._size += _room_of(content)
            self._items.append((name, content))


def _room_of(content):
    """In a list: with what separates it from the next."""
    return len(content) + 2


def _name_of(display_id):
    if display_id is True:
        return urandom(8).hex()
    name = str(display_id).encode("utf-8", "backslashreplace").decode()
    if len(name) > MAX_ID:
        raise ValueError(f"a display_id has {MAX_ID} characters at most, and this one {len(name)}")
    return name
