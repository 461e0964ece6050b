"""What get_ipython() is here: a small shell with the methods that notebooks and libraries call."""

import subprocess
import sys

import magics
import streams
import values
from cells import transform

EXPANDED = r"\{\{|\}\}|\{([^{}]+)\}|\$\$|\$(\w+)"


class Shell:
    """The one shell of a kernel."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.previous_folder = None
        self.config = {}  # libraries ask it whether they are in Jupyter: they are not

    @property
    def namespace(self):
        return self.kernel.namespace

    user_ns = namespace

    @property
    def execution_count(self):
        return int("".join(filter(str.isdigit, self.kernel.name)) or 0)

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

    def run_cell(self, text, *_args, **_options):
        self.run(text)

    def ex(self, text):
        self.run(text)

    def ev(self, text):
        return eval(text, self.namespace)

    def run_line_magic(self, name, line="", *_args):
        found = magics.LINE.get(name)
        if found is None:
            raise magics.unknown(name, magics.LINE, "%")
        return found(self, line)

    def run_cell_magic(self, name, line, body):
        found = magics.CELL.get(name)
        if found is None:
            raise magics.unknown(name, magics.CELL, "%%")
        return found(self, line, body)

    magic = run_line_magic

    def transform_cell(self, text):
        return transform(text) or text

    # Commands.

    def system(self, command):
        """Runs a command of the shell, whose output is the run's."""
        streams.flush()
        ended = subprocess.run(["/bin/bash", "-c", self.expand(command)])
        self.set("_exit_code", ended.returncode)

    def getoutput(self, command, **_options):
        """The lines that a command prints."""
        streams.flush()
        ended = subprocess.run(["/bin/bash", "-c", self.expand(command)], stdout=subprocess.PIPE)
        self.set("_exit_code", ended.returncode)
        return ended.stdout.decode("utf-8", "replace").splitlines()

    def run_program(self, argv, body=None):
        """Runs a program to its end; `body` is its standard input. Raises CalledProcessError when it fails."""
        streams.flush()
        subprocess.run(argv, input=None if body is None else body.encode(), check=True)

    def expand(self, text):
        """{expression} and $name in a command become their values; where one has none, all stays as it is."""
        import re

        try:
            return re.sub(EXPANDED, self._value_of, text)
        except Exception:
            return text

    def _value_of(self, found):
        if found[1] is not None:
            return str(eval(found[1], self.namespace))
        if found[2] is not None:
            return str(self.namespace[found[2]]) if found[2] in self.namespace else found[0]
        return found[0][0]

    # For the API of variables.

    def show_value(self, name, form, start, count):
        """Adds the value of a variable to the run's results, in one form; raises LookupError when it has none."""
        self.kernel.results.items.append({"main": True, **values.show(self.namespace, name, form, (start, count))})

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
            value = eval(name, self.namespace)
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
