"""Errors as a program's user sees them: without the kernel's own frames, with the lines of the session's programs."""

import streams
from after_import import after_import

# In characters; escaped in JSON they may take six times as many bytes, within the limits of a frame.
MAX_NAME, MAX_MESSAGE, MAX_TRACEBACK = 256, 2048, 16384
MAX_SOURCES = 2_000


class Sources:
    """The texts of the session's programs, for tracebacks and inspect.getsource; the oldest are forgotten first."""

    def __init__(self):
        self._texts = {}  # name of a program -> its text
        self._linecache = None  # the module, once something has imported it
        after_import("linecache", self._on_linecache)

    def get(self, name):
        return self._texts.get(name)

    def add(self, texts):
        """`texts`: name -> text."""
        self._texts.update(texts)
        while len(self._texts) > MAX_SOURCES:
            del self._texts[next(iter(self._texts))]
        self._publish(texts)

    def _publish(self, texts):
        if self._linecache is not None:
            for name, text in texts.items():
                self._linecache.cache[name] = len(text), None, [line + "\n" for line in text.splitlines()], name

    def _on_linecache(self, linecache):
        if type(linecache.cache) is dict:  # else it is one of the program's own
            self._linecache = linecache
            self._publish(self._texts)


def report(error):
    """Prints the traceback as the interpreter would, and answers it as data."""
    import traceback

    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<run "):
        trace = trace.tb_next
    try:
        summary = traceback.TracebackException(type(error), error, trace)
        _hide_kernel_frames(summary)
        text = "".join(summary.format())
    except Exception as failure:
        text = f"{type(error).__name__} (its traceback cannot be shown: {type(failure).__name__})\n"
    streams.flush()
    streams.print_error(text)
    return {"name": type(error).__name__[:MAX_NAME], "message": _message_of(error), "traceback": text[-MAX_TRACEBACK:]}


def _hide_kernel_frames(summary):
    """Leaves the program's own frames, also in the exceptions that led to this one."""
    seen = set()
    pending = [summary]
    while pending:
        part = pending.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = [frame for frame in part.stack if not frame.filename.startswith("/opt/era/")]
        pending += [part.__cause__, part.__context__, *(part.exceptions or ())]


def _message_of(error):
    try:
        return str(error)[:MAX_MESSAGE]
    except Exception:
        return ""
