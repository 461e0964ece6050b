"""Large values in pieces: what of one has not changed since the version before is not written again.

A stream is cut at fixed places, so that what stays where it was is in the same piece. A piece is compared with the one
that was there before, which costs a third of a digest, and is a file of its own, named by its SHA-256. So is the list
of a value's pieces, a line `SHA-256 SIZE` for each. Pieces begin at pages, so that they can be mapped: see mapping.py.
"""

import posix

from mapping import MAPPED_BYTES, map_whole_pages, padding_before
from state_files import (
    CHUNK_BYTES,
    VALUES,
    Damaged,
    digest_of,
    fast_sha256,
    open_state_file,
    put_value,
    read_exactly,
)

PIECED_BYTES = 4 << 20  # what is smaller is one file
MIB = 1 << 20
# Up to where in the stream pieces are how large: few of a large value, so that a header stays small.
SIZES = ((256 * MIB, MIB), (1280 * MIB, 4 * MIB), (1 << 60, 16 * MIB))


MAX_LIST_BYTES = 1 << 20
MAX_KNOWN = 64
_known = {}  # digest of a list -> the list: what has the digest cannot change


def pieces_of(place):
    """The pieces of a value, as [name, size]. Raises Damaged."""
    digest = place[3]
    if digest not in _known:
        text = _text_of(f"values/{digest}")
        if digest_of(text) != digest:
            raise Damaged("its data does not match its checksum")
        try:
            _know(digest, [(name, int(size)) for name, size in map(str.split, text.decode().splitlines())])
        except ValueError as cause:
            raise Damaged("it is no list of pieces") from cause
    return _known[digest]


def _text_of(name):
    with open_state_file(name) as file:
        size = posix.fstat(file.fileno()).st_size
        if size > MAX_LIST_BYTES:
            raise Damaged("it is no list of pieces")
        return bytes(read_exactly(file, size))


def _know(digest, pieces):
    if len(_known) >= MAX_KNOWN:
        del _known[next(iter(_known))]
    _known[digest] = pieces


def known_pieces(place):
    """The same; none of a list that cannot be read."""
    try:
        return pieces_of(place)
    except (Damaged, OSError):
        return []


def _piece_bytes(offset):
    return next(size for end, size in SIZES if offset < end)


class SharedPieces:
    """Which pieces the values of a version that is being made use: two may have the same one."""

    def __init__(self):
        self._users = {}
        self._made = set()

    def use(self, name, is_made):
        self._users[name] = self._users.get(name, 0) + 1
        if is_made:
            self._made.add(name)

    def give_up(self, name):
        self._users[name] -= 1
        if self._users[name] == 0 and name in self._made:
            self._made.discard(name)
            posix.unlink(f"{VALUES}/{name}")


class PieceWriter:
    """Takes a stream; `before` are the pieces of the same value in the version before, as [name, size]."""

    def __init__(self, before, durable, shared):
        self._before = before
        self._durable = durable
        self._shared = shared
        self._pending = bytearray()
        self._offset = 0
        self.pieces = []
        self.written = 0

    def write(self, data):
        """A buffer of many pieces is not copied as a whole."""
        taken = 0
        while taken < len(data):
            wanted = _piece_bytes(self._offset)
            if not self._pending and len(data) - taken >= wanted:
                self._put(bytes(data[taken : taken + wanted]))
                taken += wanted
                continue
            part = data[taken : taken + wanted - len(self._pending)]
            self._pending += part
            taken += len(part)
            if len(self._pending) == wanted:
                self._put_pending()

    def _put_pending(self):
        piece = bytes(self._pending)
        self._pending.clear()
        self._put(piece)

    def _put(self, piece):
        at = len(self.pieces)
        before = self._before[at] if at < len(self._before) else None
        if before is not None and before[1] == len(piece) and _content_of(before) == piece:
            name = before[0]
            self._shared.use(name, False)
        else:
            name = digest_of(piece)
            self._shared.use(name, self._write(name, piece))
        self.pieces.append((name, len(piece)))
        self._offset += len(piece)

    def _write(self, name, data):
        """Answers whether it was not there."""
        is_new = put_value(name, data, self._durable)
        self.written += len(data) if is_new else 0
        return is_new

    def flush(self):
        """After the last of the stream."""
        if self._pending:
            self._put_pending()

    def finish(self):
        """Where the value lies: the file of its list, 0, its size, and the digest of the list."""
        self.flush()
        text = "".join(f"{name} {size}\n" for name, size in self.pieces).encode()
        digest = digest_of(text)
        self._write(digest, text)
        _know(digest, self.pieces)
        return [f"values/{digest}", 0, self._offset, digest]

    def discard(self):
        for name, _ in self.pieces:
            self._shared.give_up(name)
        self.pieces.clear()


def _content_of(piece):
    name, size = piece
    try:
        with open_state_file(f"values/{name}") as file:
            return posix.read(file.fileno(), size)
    except (Damaged, OSError):
        return None


class OpenPiece:
    """One piece as it is read, and digested."""

    def __init__(self, name, size):
        self._name = name
        self.left = size
        self.file = open_state_file(f"values/{name}")
        if posix.fstat(self.file.fileno()).st_size != size:
            self.file.close()
            raise Damaged("its data is cut short")
        self._digest = fast_sha256()
        self.at = 0

    def took(self, content):
        self._digest.update(content)
        self.at += len(content)
        self.left -= len(content)

    def end(self):
        """Raises Damaged unless what was read is what was written."""
        self.file.close()
        if self._digest.hexdigest() != self._name:
            raise Damaged("its data does not match its checksum")


class PiecedFile:
    """The stream again, for an unpickler: what was made of it counts once its verify() passed."""

    def __init__(self, pieces):
        self._waiting = list(reversed(pieces))
        self._open: OpenPiece | None = None
        self._offset = 0

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self._open is not None:
            self._open.file.close()

    def _piece(self):
        """The piece that is to be read next, in which something is left; None at the end."""
        if self._open is not None and self._open.left == 0:
            self._open.end()
            self._open = None
        if self._open is None and self._waiting:
            self._open = OpenPiece(*self._waiting.pop())
        return self._open

    def _took(self, piece, content):
        piece.took(content)
        self._offset += len(content)

    def read(self, size=-1):
        self._skip_gap(size)
        content = bytearray()
        while (size < 0 or len(content) < size) and (piece := self._piece()) is not None:
            part = read_exactly(piece.file, piece.left if size < 0 else min(piece.left, size - len(content)))
            self._took(piece, part)
            content += part
        return bytes(content)

    def readline(self):
        line = bytearray()
        while not line.endswith(b"\n") and (part := self.read(1)):
            line += part
        return bytes(line)

    def readinto(self, target):
        view = memoryview(target).cast("B")
        self._skip_gap(len(view))
        is_mapped = len(view) >= MAPPED_BYTES
        filled = 0
        while filled < len(view) and (piece := self._piece()) is not None:
            part = view[filled : filled + piece.left]
            mapped = map_whole_pages(piece.file.fileno(), piece.at, part) if is_mapped else 0
            piece.file.seek(mapped, 1)
            _read_into(piece.file, part[mapped:])
            self._took(piece, part)
            filled += len(part)
        return filled

    def _skip_gap(self, size):
        gap = padding_before(self._offset, size)
        while gap > 0 and (piece := self._piece()) is not None:
            skipped = read_exactly(piece.file, min(gap, piece.left))
            self._took(piece, skipped)
            gap -= len(skipped)

    def verify(self):
        """Raises Damaged unless what was read is what was written: whatever was made of it must then be thrown away."""
        while (piece := self._piece()) is not None:
            self._took(piece, read_exactly(piece.file, min(piece.left, CHUNK_BYTES)))


def _read_into(file, view):
    while len(view):
        count = file.readinto(view[:CHUNK_BYTES])
        if not count:
            raise Damaged("the file is cut short")
        view = view[count:]
