"""Whether a statement may begin at the end of some lines of Python: no string and no bracket is open there."""

import re

TOKENS = re.compile(r"#.*|\"\"\"|'''|[\"'()\[\]{}]|\\$")
ENDS = {quote: re.compile(rf"\\.|{quote}", re.DOTALL) for quote in ('"""', "'''", '"', "'")}


class OpenText:
    """Line by line; a text is read once, however often one asks."""

    def __init__(self):
        self._quote = None  # of the string that is open
        self._depth = 0  # of brackets
        self._goes_on = False  # after a backslash

    @property
    def is_open(self):
        return self._quote is not None or self._depth > 0 or self._goes_on

    def take(self, line):
        at = 0
        self._goes_on = False
        while True:
            found = (TOKENS if self._quote is None else ENDS[self._quote]).search(line, at)
            if found is None:
                break
            at = found.end()
            self._take_token(found[0])
        is_continued = line.endswith("\\")
        if self._quote is not None and len(self._quote) == 1 and not is_continued:
            self._quote = None  # wrong, which is told when it is compiled

    def _take_token(self, token):
        if self._quote is not None:
            if token == self._quote:
                self._quote = None
        elif token in ENDS:
            self._quote = token
        elif token == "\\":
            self._goes_on = True
        elif token in ("(", "[", "{"):
            self._depth += 1
        elif token in (")", "]", "}"):
            self._depth = max(0, self._depth - 1)
