"""What notebooks write that is not Python, as Python: lines with % and !, cells with %%, questions with ?.

Only a text that is no Python is looked at. Each line stays a line, so that a traceback names the one that was written.
"""

import re

from open_text import OpenText

ASSIGNED = re.compile(r"^(\s*)([A-Za-z_][\w.,\[\]'\" ]*?)\s*=\s*(!!?|%)\s*(.*)$", re.DOTALL)
COMMAND = re.compile(r"^(\s*)(!!|!|%)(?!%)(.*)$", re.DOTALL)
ASKS_AFTER = re.compile(r"^(\s*)(%{0,2}[A-Za-z_][\w.\[\]]*)(\?\??)\s*$")
ASKS_BEFORE = re.compile(r"^(\s*)(\?\??)\s*(%{0,2}[A-Za-z_][\w.]*)\s*$")
CELL = re.compile(r"^%%(\w+)(.*)$")
SHELL = "get_ipython()"


def transform(text):
    """The text as Python, or None when there is nothing in it that this knows."""
    lines = text.split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return None
    cell = CELL.match(lines[first])
    if cell is not None:
        body = "\n".join(lines[first + 1 :])
        call = f"{SHELL}.run_cell_magic({cell[1]!r}, {cell[2].strip()!r}, {body!r})"
        return "\n" * first + call
    return _transform_lines(lines)


def _transform_lines(lines):
    found = 0
    done = []
    at = 0
    before = OpenText()
    while at < len(lines):
        is_special = not before.is_open and _looks_special(lines[at])
        line, used = _joined(lines, at) if is_special else (lines[at], 1)
        call = _call_of(line) if is_special else None
        if call is None:
            before.take(lines[at])
            done.append(lines[at])
            at += 1
            continue
        found += 1
        done.append(call)
        done += [""] * (used - 1)
        at += used
    return "\n".join(done) if found else None


def _looks_special(line):
    stripped = line.strip()
    return stripped[:1] in ("%", "!", "?") or stripped.endswith("?") or ASSIGNED.match(line) is not None


def _joined(lines, at):
    """A command goes on in the next line after a backslash."""
    line, used = lines[at], 1
    while line.endswith("\\") and at + used < len(lines):
        line = line[:-1] + " " + lines[at + used].lstrip()
        used += 1
    return line, used


def _call_of(line):
    if found := ASSIGNED.match(line):
        indent, target, kind, rest = found.groups()
        return f"{indent}{target} = {_run_of(kind, rest, True)}"
    if found := ASKS_AFTER.match(line):
        return f"{found[1]}{SHELL}.describe({found[2]!r}, {len(found[3])})"
    if found := ASKS_BEFORE.match(line):
        return f"{found[1]}{SHELL}.describe({found[3]!r}, {len(found[2])})"
    if found := COMMAND.match(line):
        indent, kind, rest = found.groups()
        return f"{indent}{_run_of(kind, rest, False)}"
    return None


def _run_of(kind, rest, is_assigned):
    rest = rest.strip()
    if kind == "%":
        name, _, arguments = rest.partition(" ")
        return f"{SHELL}.run_line_magic({name!r}, {arguments.strip()!r})"
    if is_assigned or kind == "!!":
        return f"{SHELL}.getoutput({rest!r})"
    return f"{SHELL}.system({rest!r})"
