"""The data of groups of variables: written as it is pickled, read as it is unpickled, checked by its digest."""

import posix
from _io import BytesIO
from _sha2 import sha256

from mapping import map_pages, padding_before
from pieces import PIECED_BYTES, PiecedFile, PieceWriter, SharedPieces, pieces_of
from state_files import (
    CHUNK_BYTES,
    Damaged,
    WriteFailed,
    bytes_of,
    digest_of,
    fast_sha256,
    open_state_file,
    put_value,
    read_exactly,
)
from state_versions import data_offset

INLINE_BYTES = 16 << 10


class Allowance:
    """What the files of one version that is being made may take together."""

    def __init__(self, limit):
        self._left = limit
        self.pieces = SharedPieces()

    def take(self, size):
        """False when there is not that much."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size):
        self._left += size


class ValueWriter:
    """
    Takes the data of one group as it is pickled: small data stays in memory, a large value goes into pieces. What
    exceeds the allowance is counted only. `before`: pieces of the group in the version before.
    """

    def __init__(self, durable, allowance, before=()):
        self._durable = durable
        self._allowance = allowance
        self._before = before
        self._parts = []
        self._pieces: PieceWriter | None = None
        self._taken = 0
        self.size = 0
        self.has_overflowed = False

    def write(self, data):
        data = bytes_of(data)
        size = len(data)
        if gap := padding_before(self.size, size):
            self.write(bytes(gap))
        self.size += size
        if self.has_overflowed:
            return size
        if self._pieces is None and self.size <= PIECED_BYTES:
            self._parts.append(bytes(data))
            return size
        try:
            if self._pieces is None:
                self._pieces = PieceWriter(self._before, self._durable, self._allowance.pieces)
                for part in self._parts:
                    self._put(self._pieces, memoryview(part))
                self._parts.clear()
            self._put(self._pieces, data)
        except OSError as cause:
            raise WriteFailed(f"its data cannot be written: {cause.strerror}") from cause
        return size

    def _put(self, pieces, data):
        if not self.has_overflowed and not self._allowance.take(len(data)):
            self.discard()
            self.has_overflowed = True
        if not self.has_overflowed:
            self._taken += len(data)
            pieces.write(data)

    def finish(self, files):
        """Where the data lies, as [file, offset, size, digest]; whether in pieces; and how many bytes were written."""
        if self.has_overflowed:
            raise WriteFailed("there is no room for all of what is saved")
        try:
            if self._pieces is not None:
                return self._pieces.finish(), True, self._pieces.written
            data = b"".join(self._parts)
            if len(data) <= INLINE_BYTES:
                return files.add_inline(data), False, 0
            return self._write_file(data)
        except OSError as cause:
            raise WriteFailed(f"its data cannot be written: {cause.strerror}") from cause

    def _write_file(self, data):
        name = digest_of(data)
        is_new = put_value(name, data, self._durable)
        return [f"values/{name}", 0, len(data), name], False, len(data) if is_new else 0

    def reader(self):
        """What was written so far, for an unpickler."""
        if self._pieces is None:
            return CheckedBytes(b"".join(self._parts))
        self._pieces.flush()
        return PiecedFile(self._pieces.pieces)

    def discard(self):
        if self._pieces is not None:
            self._pieces.discard()
            self._pieces = None
            self._allowance.give_back(self._taken)
            self._taken = 0


class InlineData:
    """The data area of a version's file that is being made."""

    def __init__(self, version):
        self._file = f"versions/{version}"
        self.data = bytearray()

    def add_inline(self, data):
        place = [self._file, len(self.data), len(data), sha256(data).hexdigest()]
        self.data += data
        return place


class ValueFile:
    """A file of one large value, for an unpickler: digested as it is read, and checked when all of it was."""

    def __init__(self, file, size, digest):
        self._file = file
        self._size = self._left = size
        self._actual = fast_sha256()
        self._digest = digest

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._file.close()

    def read(self, size=-1):
        size = self._left if size is None or size < 0 else min(size, self._left)
        self._skip_gap(size)
        content = self._file.read(size)
        if len(content) < size:
            content += read_exactly(self._file, size - len(content))
        self._took(content)
        return content

    def readinto(self, target):
        view = memoryview(target).cast("B")
        self._skip_gap(len(view))
        view = view[: self._left]
        start, end = map_pages(self._file.fileno(), self._size - self._left, view)
        self._read_into(view[:start])
        self._file.seek(end - start, 1)
        self._took(view[start:end])
        self._read_into(view[end:])
        return len(view)

    def _read_into(self, view):
        while len(view):
            count = self._file.readinto(view[:CHUNK_BYTES])
            if not count:
                raise Damaged("the file is cut short")
            self._took(view[:count])
            view = view[count:]

    def _skip_gap(self, size):
        if gap := padding_before(self._size - self._left, size):
            self._took(read_exactly(self._file, min(gap, self._left)))

    def readline(self):
        line = bytearray()
        while self._left and not line.endswith(b"\n"):
            line += self.read(1)
        return bytes(line)

    def _took(self, content):
        self._actual.update(content)
        self._left -= len(content)

    def verify(self):
        """Raises Damaged unless what was read is what was written: whatever was made of it must then be thrown away."""
        while self._left:
            self.read(min(self._left, CHUNK_BYTES))
        if self._actual.hexdigest() != self._digest:
            raise Damaged("its data does not match its checksum")


class CheckedBytes(BytesIO):
    """Small data that was checked before."""

    def verify(self):
        pass


def open_group(group):
    """The data of a group, as open_value() opens it."""
    place = group["at"]
    return PiecedFile(pieces_of(place)) if group.get("is_pieced") else open_value(place)


def open_value(place):
    """
    The data at a place, as a file to read from; what was made of it counts once its verify() passed. Raises Damaged.
    """
    name, offset, size, digest = place
    file = open_state_file(name)
    if name.startswith("versions/"):
        with file:
            file.seek(data_offset(name.partition("/")[2]) + offset)
            data = bytes(read_exactly(file, size))
        if sha256(data).hexdigest() != digest:
            raise Damaged("its data does not match its checksum")
        return CheckedBytes(data)
    if posix.fstat(file.fileno()).st_size != size:
        file.close()
        raise Damaged("its data is cut short")
    return ValueFile(file, size, digest)
