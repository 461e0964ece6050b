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
    if type(file) is TextIOWrapper and file.readable():
        settle(file)
    if file.writable():
        file.flush()


def settle(file):
    """Sets a text file to where it is, whatever it has read ahead, so that its place can be told, also in a child.

    While it is iterated it refuses to tell, and after a flush it tells a wrong place. Where its place cannot be found,
    it goes on refusing.
    """
    try:
        place = file.tell()
    except OSError:
        if _can_be_found(file):
            _find_place(file)
    else:
        if file.writable():
            file.seek(place)


def _can_be_found(file):
    """Each character that it has read must have the bytes that it is written with."""
    is_exact = file.errors in ("strict", "surrogateescape") and file.newlines in (None, "\n")
    return file.seekable() and not file.writable() and is_exact and file.encoding.lower() in ENCODINGS


def _find_place(file):
    after = file.buffer.tell()
    file.buffer.seek(0, 2)
    try:
        rest = file.read()  # what was read ahead and not given out
    except ValueError:
        file.buffer.seek(after)  # it ends within a character: nothing was taken
        return
    file.seek(after - len(rest.encode(file.encoding, file.errors)))
    file.flush()  # it tells again
