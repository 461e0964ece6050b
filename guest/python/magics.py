"""The commands of notebooks: %name for a line, %%name for a cell. Each is a function of the shell and of what follows.

A docstring's first line is what %lsmagic shows.
"""

import os
import sys

from forms import MIME_TYPES

LINE, CELL = {}, {}


class UsageError(Exception):
    """A command that cannot be run as it is written."""


def line_magic(function):
    LINE[function.__name__.removeprefix("line_")] = function
    return function


def cell_magic(function):
    CELL[function.__name__.removeprefix("cell_")] = function
    return function


def unknown(name, known, mark):
    """What to say of a command that there is not."""
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    meant = f" Did you mean {mark}{near[0]}?" if near else ""
    other = CELL if known is LINE else LINE
    hint = f" There is {'%%' if known is LINE else '%'}{name}." if name in other else ""
    names = " ".join(mark + each for each in sorted(known))
    return UsageError(f"There is no command {mark}{name}.{meant}{hint} There are: {names}")


# Packages and commands.


@line_magic
def line_pip(shell, text):
    """%pip install PACKAGE...: installs Python packages for this session."""
    _install(shell, [sys.executable, "-m", "pip"], text)
    shell.kernel.refresh_packages()


@line_magic
def line_npm(shell, text):
    """%npm install PACKAGE...: runs npm."""
    _install(shell, ["npm"], text)


def _install(shell, program, text):
    import shlex

    shell.run_program([*program, *shlex.split(shell.expand(text))])


@line_magic
def line_sx(shell, text):
    """%sx COMMAND: the lines that a shell command prints."""
    return shell.getoutput(text)


@cell_magic
def cell_bash(shell, text, body):
    """%%bash: the cell is a program of bash."""
    shell.run_program(["/bin/bash", "-s", *text.split()], body)


@cell_magic
def cell_sh(shell, text, body):
    """%%sh: the same for sh."""
    shell.run_program(["/bin/sh", "-s", *text.split()], body)


@cell_magic
def cell_script(shell, text, body):
    """%%script PROGRAM...: the cell is the input of a program."""
    import shlex

    if not text:
        raise UsageError("%%script needs a program: %%script perl")
    shell.run_program(shlex.split(text), body)


# Time.


@line_magic
def line_time(shell, text):
    """%time STATEMENT: runs it, and says how long it took."""
    return _timed(shell, text)


@cell_magic
def cell_time(shell, text, body):
    """%%time: the same for a cell."""
    shell.run(text)
    return _timed(shell, shell.placed(body))


def _timed(shell, text):
    import time

    wall, processor = time.perf_counter(), time.process_time()
    try:
        return shell.run(text)
    finally:
        used, waited = time.process_time() - processor, time.perf_counter() - wall
        print(f"CPU times: {_duration(used)}\nWall time: {_duration(waited)}")


def _duration(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


@line_magic
def line_timeit(shell, text):
    """%timeit [-n LOOPS] [-r REPEATS] STATEMENT: how long it takes, of many runs."""
    _timeit(shell, text, None)


@cell_magic
def cell_timeit(shell, text, body):
    """%%timeit: the same for a cell; what follows on the first line is done before."""
    _timeit(shell, text, body)


def _timeit(shell, text, body):
    import timeit

    options, rest = _options(text, {"-n": None, "-r": 7})
    statement, setup = (rest, "pass") if body is None else (body, rest or "pass")
    if not statement.strip():
        raise UsageError("%timeit needs a statement: %timeit sum(range(100))")
    for part in (setup, statement):
        shell.kernel.evaluator.note_text(part)
    timer = timeit.Timer(statement, setup, globals=shell.namespace)
    loops = options["-n"] or timer.autorange()[0]
    repeats = max(1, options["-r"])
    each = [taken / loops for taken in timer.repeat(repeats, loops)]
    mean = sum(each) / repeats
    spread = (sum((taken - mean) ** 2 for taken in each) / repeats) ** 0.5
    of_all = f"{repeats} run{'s' if repeats > 1 else ''}, {loops:,} loop{'s' if loops > 1 else ''} each"
    print(f"{_duration(mean)} ± {_duration(spread)} per loop (mean ± std. dev. of {of_all})")


def _options(text, defaults):
    """Numbers that follow their names at the beginning of a text, as `-n5` or `-n 5`; and the rest."""
    found, rest = dict(defaults), text.strip()
    while (name := rest[:2]) in found:
        value, _, rest = rest[2:].lstrip().partition(" ")
        if not value.isdigit():
            raise UsageError(f"'{name}' needs a number, not '{value}'")
        found[name], rest = int(value), rest.strip()
    return found, rest


# Where one is, and what there is.


@line_magic
def line_cd(shell, text):
    """%cd FOLDER: changes the working directory, also for the runs that follow."""
    target = os.path.expanduser(shell.expand(text.strip("'\"")) or "~")
    if target == "-":
        target = shell.previous_folder or "."
    before = os.getcwd()
    os.chdir(target)
    shell.previous_folder = before
    print(os.getcwd())


@line_magic
def line_pwd(_shell, _text):
    """%pwd: the working directory."""
    return os.getcwd()


@line_magic
def line_ls(shell, text):
    """%ls [FILE...]: lists files."""
    shell.system(f"ls -C -w 100 {text}")


@line_magic
def line_env(shell, text):
    """%env, %env NAME, %env NAME=VALUE: variables of the environment; one that is set holds for this run."""
    name, has_value, value = (text if "=" in text else text.replace(" ", "=", 1)).partition("=")
    if not name:
        return dict(os.environ)
    if not has_value:
        if name not in os.environ:
            raise UsageError(f"There is no variable {name} in the environment")
        return os.environ[name]
    os.environ[name.strip()] = shell.expand(value.strip())
    print(f"env: {name.strip()}={os.environ[name.strip()]}   (for this run: send it with each, in the field 'env')")
    return None


@line_magic
def line_set_env(shell, text):
    """%set_env NAME=VALUE: the same as %env."""
    return line_env(shell, text)


@line_magic
def line_who(shell, _text):
    """%who: the names of the variables."""
    print("   ".join(shell.names()) or "There are no variables.")


@line_magic
def line_who_ls(shell, _text):
    """%who_ls: the same as a list."""
    return shell.names()


@line_magic
def line_whos(shell, _text):
    """%whos: the variables with their types and values."""
    rows = [(name, type(shell.namespace[name]).__name__, _brief(shell.namespace[name])) for name in shell.names()]
    if not rows:
        print("There are no variables.")
        return
    widths = [max(len(row[at]) for row in (*rows, ("Variable", "Type"))) for at in (0, 1)]
    for name, kind, value in (("Variable", "Type", "Data/Info"), *rows):
        print(f"{name:<{widths[0]}}   {kind:<{widths[1]}}   {value}")


def _brief(value):
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"shape {'x'.join(map(str, shape))}"
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


@line_magic
def line_reset(shell, _text):
    """%reset: deletes all variables."""
    for name in shell.names():
        del shell.namespace[name]


@line_magic
def line_lsmagic(_shell, _text):
    """%lsmagic: the commands that there are."""
    for known, mark in ((LINE, "%"), (CELL, "%%")):
        print("\n".join((each.__doc__ or mark + name).split("\n")[0] for name, each in sorted(known.items())))


# Files and programs.


@line_magic
def line_run(shell, text):
    """%run FILE.py [ARGUMENT...]: runs a file; its variables are there afterwards."""
    import shlex

    words = shlex.split(shell.expand(text))
    if not words:
        raise UsageError("%run needs a file: %run script.py")
    with open(words[0], encoding="utf-8") as file:
        content = file.read()
    before, sys.argv = sys.argv, words
    file_before = shell.namespace.get("__file__")
    shell.namespace["__file__"] = words[0]
    try:
        shell.run(content, words[0])
    except SystemExit as end:
        if end.code:
            print(f"{words[0]} has ended with {end.code}", file=sys.stderr)
    finally:
        sys.argv = before
        if file_before is None:
            shell.namespace.pop("__file__", None)
        else:
            shell.namespace["__file__"] = file_before


@line_magic
def line_load(shell, text):
    """%load FILE: shows a file's content."""
    with open(shell.expand(text), encoding="utf-8") as file:
        print(file.read(), end="")


@cell_magic
def cell_writefile(shell, text, body):
    """%%writefile [-a] FILE: writes the cell into a file."""
    is_added = text.startswith("-a ")
    path = shell.expand(text.removeprefix("-a ").strip().strip("'\""))
    if not path:
        raise UsageError("%%writefile needs a file: %%writefile notes.txt")
    has_been = os.path.exists(path)
    with open(path, "a" if is_added else "w", encoding="utf-8") as file:
        file.write(body if body.endswith("\n") else body + "\n")
    print(f"{'Appending to' if is_added else 'Overwriting' if has_been else 'Writing'} {path}")


@cell_magic
def cell_capture(shell, text, body):
    """%%capture [NAME]: what the cell prints and displays is kept in a variable, and not shown."""
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        shell.run(shell.placed(body))
    name = text.strip()
    if name.isidentifier():
        shell.set(name, captured)


# Rich cells.


def _shows(mime_type):
    def show(shell, _text, body):
        shell.kernel.results.display({"text/plain": body, mime_type: body}, raw=True)

    return show


for _type, _name in MIME_TYPES.items():
    if _name in ("html", "markdown", "latex", "svg"):
        CELL[_name] = _shows(_type)
        CELL[_name].__doc__ = f"%%{_name}: shows the cell as {_type}."


# What notebooks say that needs nothing here.


@line_magic
def line_matplotlib(_shell, text):
    """%matplotlib inline: figures are shown as pictures in any case."""
    if text not in ("", "inline", "agg", "--list"):
        raise UsageError(f"Figures are shown as pictures: '%matplotlib inline', not '{text}'")


@line_magic
def line_config(_shell, _text):
    """%config: taken, without an effect."""


@line_magic
def line_load_ext(_shell, text):
    """%load_ext autoreload: changed modules of the workspace are loaded anew in any case."""
    if text != "autoreload":
        raise UsageError(f"The extension '{text}' needs IPython, which is not here")


@line_magic
def line_autoreload(_shell, _text):
    """%autoreload: changed modules of the workspace are loaded anew in any case."""


@line_magic
def line_precision(shell, text):
    """%precision DIGITS: how many digits numpy prints."""
    if not text.isdigit():
        raise UsageError("%precision needs a number of digits: %precision 3")
    shell.run(f"import numpy; numpy.set_printoptions(precision={int(text)})")
