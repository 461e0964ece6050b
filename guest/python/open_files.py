"""Files that a program has open: what they hold back is written, and those that it reads can tell their place."""

import gc
from _io import BufferedRandom, BufferedWriter, TextIOWrapper

# In them each part of a text has bytes of its own, wherever it begins.
ENCODINGS = ("utf-8", "ascii", "us-ascii", "latin-1", "iso-8859-1", "cp1252")


def prepare_all():
    """So that a child, which must not write what its parent still holds back, finds nothing held back."""
    for value in gc.get_objects():
        if type(value) in (TextIOWrapper, BufferedWriter, BufferedRandom):
            try:
                _prepare(value)
            except (OSError, ValueError):
                continue  # closed, or the disk is full


def _prepare(file):
    if file.writable():
        file.flush()
    elif type(file) is TextIOWrapper:
        settle(file)


def settle(file):
    """A text file that is iterated refuses to tell its place, and after a flush it tells a wrong one: it is set to where it is.

    Where that cannot be found, it goes on refusing.
    """
    try:
        file.tell()
    except OSError:
        if file.seekable() and file.encoding.lower() in ENCODINGS and type(file.newlines) is not tuple:
            _find_place(file)


def _find_place(file):
    after = file.buffer.tell()
    file.buffer.seek(0, 2)
    try:
        rest = file.read()  # what was read ahead and not given out
    except ValueError:
        file.buffer.seek(after)  # it ends within a character: nothing was taken
        return
    if file.newlines == "\r\n" and "\r\n" not in rest:
        rest = rest.replace("\n", "\r\n")
    file.seek(after - len(rest.encode(file.encoding, file.errors)))
    file.flush()  # it tells again
