"""Output that is kept instead of shown."""

import builtins
import contextlib
import io
import sys

_results = vars(builtins)["display"].__self__  # of the kernel; what programs make of the name later is theirs


class CapturedIO:
    """What was printed, as texts, and what was displayed, as contents by their MIME types."""

    def __init__(self, stdout="", stderr="", outputs=()):
        self.stdout, self.stderr, self.outputs = stdout, stderr, list(outputs)

    def __str__(self):
        return self.stdout

    def show(self):
        """Prints and displays it now."""
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)
        for output in self.outputs:
            _results.display(output, raw=True)

    __call__ = show


class capture_output:
    """A context whose output is kept; what fails in it shows what it has printed until then. The name is IPython's."""

    def __init__(self, stdout=True, stderr=True, display=True):
        self._streams = {"stdout": stdout, "stderr": stderr}
        self._takes_displays = display

    def __enter__(self):
        self._kept = CapturedIO()
        self._texts = {name: io.StringIO() for name, is_taken in self._streams.items() if is_taken}
        self._stack = contextlib.ExitStack()
        for name, text in self._texts.items():
            self._stack.enter_context(getattr(contextlib, f"redirect_{name}")(text))
        if self._takes_displays:
            before, _results.capture = _results.capture, self._kept.outputs
            self._stack.callback(setattr, _results, "capture", before)
        return self._kept

    def __exit__(self, kind, *_error):
        self._stack.close()
        for name, text in self._texts.items():
            setattr(self._kept, name, text.getvalue())
        if kind is not None:
            self._kept.show()
