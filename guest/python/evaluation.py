"""Evaluating programs in the session's namespace: the value of a last expression is a result, and `await` works."""

import _ast

PARSE_ONLY, TOP_LEVEL_AWAIT = 0x400, 0x2000
COROUTINE = 0x80
Code = type((lambda: 0).__code__)


class Evaluator:
    def __init__(self, namespace, results):
        self._namespace = namespace
        self._results = results
        self._loop = None
        self._shows_last = False
        self.codes = []  # of the program in progress, or of the last one
        self.submodules = {}  # each "a.b" that a program has imported, in order

    def compile(self, text, name):
        """Raises SyntaxError; then the program has no code."""
        self.codes = []
        tree = compile(text, name, "exec", PARSE_ONLY | TOP_LEVEL_AWAIT, True)
        body = tree.body
        last = body.pop() if body and type(body[-1]) is _ast.Expr else None
        self.codes = [compile(tree, name, "exec", TOP_LEVEL_AWAIT, True)]
        if last is not None:
            self.codes.append(compile(_ast.Expression(last.value), name, "eval", TOP_LEVEL_AWAIT, True))
        self._shows_last = last is not None
        if "import" in text:
            for program in self.codes:
                self._note_submodules(program)

    def run(self):
        """Runs what was compiled. Raises what the program raises."""
        value = None
        for program in self.codes:
            value = self._evaluate(program)
        if self._shows_last and value is not None:
            self._results.add(value)

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
