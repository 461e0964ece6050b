"""Evaluating programs in the session's namespace: the value of a last expression is a result, and `await` works."""

import _ast
from _opcode_metadata import opmap  # pyright: ignore[reportMissingImports]  the interpreter has it

PARSE_ONLY, TOP_LEVEL_AWAIT = 0x400, 0x2000
STORES = opmap["STORE_NAME"], opmap["STORE_GLOBAL"]
EXTENDED = opmap["EXTENDED_ARG"]
COROUTINE = 0x80
Code = type((lambda: 0).__code__)


# Names of the last values of last expressions, the newest first.
LAST = ("_", "__", "___")


def is_last(name):
    """Whether a name is one of those that last values have: "_", "__", "___", "_7"."""
    return name in LAST or (name[:1] == "_" and name[1:].isdigit())


def run_number(name):
    """The number of a run, from the name of its program: "<run 7>"."""
    return int("".join(filter(str.isdigit, name)) or 0)


class Evaluator:
    def __init__(self, namespace, results, load_notebook):
        self._namespace = namespace
        self._results = results
        self._load_notebook = load_notebook
        self._last = []  # (number of the run, value) of last expressions, the newest first
        self._lent = {}  # of those, the names that a program uses: they are no variables
        self._loop = None
        self._shows_last = False
        self.codes = []  # of the program in progress, or of the last one
        self.submodules = {}  # each "a.b" that a program has imported, in order

    def compile(self, text, name):
        """Raises SyntaxError; then the program has no code. What notebooks write besides Python is taken, too."""
        self.codes = []
        try:
            tree = compile(text, name, "exec", PARSE_ONLY | TOP_LEVEL_AWAIT, True)
        except SyntaxError:
            transformed = self._load_notebook()["cells"].transform(text)
            if transformed is None:
                raise
            tree = compile(transformed, name, "exec", PARSE_ONLY | TOP_LEVEL_AWAIT, True)
        body = tree.body
        last = body.pop() if body and type(body[-1]) is _ast.Expr else None
        self.codes = [compile(tree, name, "exec", TOP_LEVEL_AWAIT, True)]
        if last is not None:
            self.codes.append(compile(_ast.Expression(last.value), name, "eval", TOP_LEVEL_AWAIT, True))
        self._shows_last = last is not None
        if "import" in text:
            for program in self.codes:
                self._note_submodules(program)

    def run(self, number):
        """Runs what was compiled. Raises what the program raises."""
        shows, value = self._shows_last, None
        self._lend(self.codes)
        try:
            for program in list(self.codes):
                value = self._evaluate(program)
        finally:
            self._take_back()
        if shows and value is not None:
            self._results.add(value)
            self._last = [(number, value), *self._last[: len(LAST) - 1]]

    def run_part(self, text, name):
        """A text that the program in progress has run, as a part of it; answers the value of its last expression."""
        before, shows = self.codes, self._shows_last
        try:
            self.compile(text, name)
            self._lend(self.codes)
            value = None
            for program in self.codes:
                value = self._evaluate(program)
            return value if self._shows_last else None
        finally:
            self.codes, self._shows_last = [*before, *self.codes], shows

    def evaluate(self, text, names):
        """The value of an expression that the program in progress gives as text, with local names of its."""
        code = compile(text, "<expression>", "eval", 0, True)
        self.codes.append(code)
        self._lend((code,))
        return eval(code, self._namespace, names)

    def note_text(self, text):
        """A text of the program's that something else runs."""
        self.codes.append(compile(text, "<text>", "exec", TOP_LEVEL_AWAIT, True))
        self._lend(self.codes[-1:])

    def note_name(self, name):
        """A variable that the program has set by other means than its own code."""
        self.codes.append(compile(name, "<name>", "eval"))

    def _lend(self, codes):
        """The last values, to a program that uses their names and has no variables of these names."""
        if not self._last:
            return
        named = {f"_{number}": value for number, value in self._last}
        named |= zip(LAST, (value for _, value in self._last), strict=False)
        used = set()
        for program in codes:
            used.update(program.co_names)
        lent = {name: named[name] for name in used if name in named and name not in self._namespace}
        self._lent.update(lent)
        self._namespace.update(lent)

    def _take_back(self):
        lent, self._lent = self._lent, {}
        for name, value in lent.items():
            is_stored = any(_stores(program, name) for program in self.codes)
            if not is_stored and self._namespace.get(name) is value:
                del self._namespace[name]

    def has_tasks(self):
        if self._loop is None or self._loop.is_closed():
            return False
        import asyncio

        return bool(asyncio.all_tasks(self._loop))

    def _note_submodules(self, code):
        """Only names of modules have dots in them."""
        self.submodules.update((name, None) for name in code.co_names if "." in name)
        for constant in code.co_consts:
            if type(constant) is Code:
                self._note_submodules(constant)

    def _evaluate(self, code):
        if code.co_flags & COROUTINE:
            return self._event_loop().run_until_complete(eval(code, self._namespace))
        return eval(code, self._namespace)

    def _event_loop(self):
        """One loop for the session, so that what one run opened on it can be awaited in the next."""
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop


def _stores(code, name):
    """Whether a program makes a global variable of this name, itself or in a function of its."""
    argument = 0
    instructions = code.co_code
    for kind, low in zip(instructions[::2], instructions[1::2], strict=True):
        argument = argument << 8 | low
        if kind in STORES and code.co_names[argument] == name:
            return True
        argument = argument if kind == EXTENDED else 0
    return any(_stores(constant, name) for constant in code.co_consts if type(constant) is Code)
