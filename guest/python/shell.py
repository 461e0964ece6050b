"""What get_ipython() is here: a small shell with the methods that notebooks and libraries call."""

import subprocess
import sys

import magics
import streams
import values
from cells import transform
from evaluation import run_number

EXPANDED = r"\{\{|\}\}|\{([^{}]+)\}|\$\$|\$(\w+)"


class Shell:
    """The one shell of a kernel."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.previous_folder = None
        self.config = {}  # libraries ask it whether they are in Jupyter: they are not
        self.cell_line = 0  # of the text, the line after which the cell in progress begins

    @property
    def namespace(self):
        return self.kernel.namespace

    user_ns = namespace

    @property
    def execution_count(self):
        return run_number(self.kernel.name)

    def names(self):
        """The variables, in order; not those that begin with an underscore, and not what a restore has left waiting."""
        if self.kernel.restored is not None:
            self.kernel.restored.prepare("globals")  # a program that looks at all of them
        return sorted(name for name in self.namespace if type(name) is str and not name.startswith("_"))

    def set(self, name, value):
        self.namespace[name] = value
        self.kernel.evaluator.note_name(name)

    # What is run.

    def run(self, text, name=None):
        """Runs a text as a part of the program; answers the value of its last expression."""
        return self.kernel.evaluator.run_part(text, name or self.kernel.name)

    def placed(self, body):
        """What follows the command of the cell in progress, so that its lines have their numbers in the cell."""
        return "\n" * self.cell_line + body

    def evaluate(self, text):
        """The value of an expression, with the local names of the function that asks for it."""
        if self.kernel.restored is not None:
            self.kernel.restored.prepare(text)
        caller = self._caller()
        return self.kernel.evaluator.evaluate(text, self.namespace if caller is None else caller.f_locals)

    def _caller(self):
        """The frame of the session's own program that has come here; None when a library has."""
        frame = sys._getframe(1)
        while frame is not None and frame.f_globals is not self.namespace:
            frame = frame.f_back
        return frame

    def run_cell(self, text, *_args, **_options):
        self.run(text)

    def ex(self, text):
        self.run(text)

    def ev(self, text):
        return self.evaluate(text)

    def run_line_magic(self, name, line="", *_args):
        found = magics.LINE.get(name)
        if found is None:
            raise magics.unknown(name, magics.LINE, "%")
        return found(self, line)

    def run_cell_magic(self, name, line, body):
        found = magics.CELL.get(name)
        if found is None:
            raise magics.unknown(name, magics.CELL, "%%")
        caller = self._caller()
        self.cell_line = 0 if caller is None else caller.f_lineno
        return found(self, line, body)

    magic = run_line_magic

    def transform_cell(self, text):
        return transform(text) or text

    # Commands.

    def system(self, command):
        """Runs a command of the shell, whose output is the run's."""
        self.set("_exit_code", self._start(["/bin/bash", "-c", self.expand(command)]).returncode)

    def getoutput(self, command, **_options):
        """The lines that a command prints."""
        streams.flush()
        ended = subprocess.run(["/bin/bash", "-c", self.expand(command)], stdout=subprocess.PIPE)
        self.set("_exit_code", ended.returncode)
        return ended.stdout.decode("utf-8", "replace").splitlines()

    def run_program(self, argv, body=None):
        """Runs a program to its end; `body` is its standard input. Raises CalledProcessError when it fails."""
        self._start(argv, body).check_returncode()

    @staticmethod
    def _start(argv, body=None):
        """A program whose output is the run's, or goes where the program in progress has turned its own."""
        streams.flush()
        given = None if body is None else body.encode()
        stdout, stderr = (
            None if stream is own else subprocess.PIPE
            for stream, own in ((sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__))
        )
        ended = subprocess.run(argv, input=given, stdout=stdout, stderr=stderr)
        for stream, said in ((sys.stdout, ended.stdout), (sys.stderr, ended.stderr)):
            if said is not None:
                stream.write(said.decode("utf-8", "replace"))
        return ended

    def expand(self, text):
        """{expression} and $name in a command become their values; where one has none, all stays as it is."""
        import re

        try:
            return re.sub(EXPANDED, self._value_of, text)
        except Exception:
            return text

    def _value_of(self, found):
        if found[1] is not None:
            return str(self.evaluate(found[1]))
        if found[2] is None:
            return found[0][0]
        try:
            return str(self.evaluate(found[2]))
        except NameError:
            return found[0]

    # For the API of variables.

    def show_value(self, name, form, start, count):
        """Adds the value of a variable to the run's results, in one form; raises LookupError when it has none."""
        self.kernel.results.put_main(values.show(self.namespace, name, form, (start, count)))

    # Questions.

    def describe(self, name, level):
        """Prints what there is to say of an object: its type, how it is called, its text; with level 2 its source."""
        if name.startswith("%"):
            known = magics.CELL if name.startswith("%%") else magics.LINE
            found = known.get(name.lstrip("%"))
            if found is None:
                raise magics.unknown(name.lstrip("%"), known, "%%" if known is magics.CELL else "%")
            print(found.__doc__)
            return
        import inspect

        try:
            value = self.evaluate(name)
        except Exception:
            print(f"Object `{name}` not found.")
            return
        parts = [("Type", type(value).__name__)]
        if callable(value):
            parts.append(("Signature", _signature(name, value, inspect)))
        else:
            parts.append(("Value", repr(value)[:1000]))
        source = _source(value, inspect) if level > 1 else None
        parts.append(("Source", source) if source else ("Docstring", inspect.getdoc(value) or "(none)"))
        print("\n".join(f"{title}: {'' if len(text.splitlines()) < 2 else chr(10)}{text}" for title, text in parts))

    # What libraries ask for, and need not have here.

    def enable_gui(self, *_args):
        """There is no event loop of a window system."""

    def register_magic_function(self, function, magic_kind="line", magic_name=None):
        """Adds a command; it goes when the session sleeps."""
        name = magic_name or function.__name__
        if magic_kind in ("line", "line_cell"):
            magics.LINE[name] = lambda _shell, line: function(line)
        if magic_kind in ("cell", "line_cell"):
            magics.CELL[name] = lambda _shell, line, body: function(line, body)

    def __repr__(self):
        return f"<the shell of this session, Python {sys.version.split()[0]}>"


def _signature(name, value, inspect):
    try:
        return f"{name}{inspect.signature(value)}"
    except (TypeError, ValueError):
        return f"{name}(...)"


def _source(value, inspect):
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return None
