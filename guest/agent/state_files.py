"""Saved state on disk: one file for each version, and one for each large value, in the session's state folder.

    versions/<number>   magic | u32 header bytes | SHA-256 of the header | header (JSON) | data of small groups
    values/<SHA-256>    data of one large group; the same content is stored once (gaps in it: see mapping.py)

The header of a version names, for each group of linked variables, where its data lies: in its own file, in that of
an earlier version, or in a value's file. A file is written beside its name, then renamed: it is whole or not there.

The oldest version's file, when that is not kept any more, becomes the next one's: to make a file and remove another with
each run costs a file system more than all else of a save. What is not put on disk at once is from time to time, and a
version that is on disk stays until another one is: a machine that loses power finds it, whatever became of the later ones.

The files of all kept versions take `Keep.bytes` at most: the oldest versions go first. A state that is larger by itself is
not written at all. While a version is written, the ones before it are still there: twice that is on disk for a moment.
"""

import posix
import time
from _io import BytesIO
from _sha2 import sha256
from _stat import S_ISREG
from _struct import Struct

# By posix, not os: a program that replaces os.open for its session does not change how its state is kept.
from mapping import map_pages, padding_before
from wire import FrameError, parse_json, to_json

STATE = "/run/era-state"
VERSIONS, VALUES = STATE + "/versions", STATE + "/values"
MAGIC = b"ERASTATE"
PREFIX = Struct(">8sI32s")
MAX_HEADER_BYTES = 64 << 20
INLINE_BYTES = 16 << 10
# A version whose small groups lie in more files than this takes copies of them, so that old files can go.
MAX_SOURCES = 16
CHUNK_BYTES = 1 << 20
MAX_LISTED_VERSIONS = 100
FLUSH_SECONDS = 5.0
# A pipe that a guest has put in its place is not waited for.
FILE_FLAGS = posix.O_CREAT | posix.O_WRONLY | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
SPARE = STATE + "/.version-spare"
_staged = 0


class WriteFailed(Exception):
    """The disk is full, or as much of it as the session may have."""


class TooLarge(WriteFailed):
    """The variables take more than may be saved of a session."""

    def __init__(self, size, limit):
        super().__init__(
            f"the variables take {_mib(size)} MiB, more than the {_mib(limit)} MiB that may be saved of this session: "
            "delete some of them, or raise ERA_STATE_MIB"
        )


class Damaged(Exception):
    """A state file is missing, cut short, or not what was written."""


def _mib(size):
    return -(-size // (1 << 20))


def fast_sha256():
    """The same digest by OpenSSL, three times as fast; worth its import for large data only."""
    from _hashlib import openssl_sha256

    return openssl_sha256()


def allow_large_files():
    """One value may be as large as all that may be saved, which may be more than one file of the program may be."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def make_folder(path):
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass


def make_folders():
    for path in (VERSIONS, VALUES):
        make_folder(path)


def remove_unfinished():
    """What a save that was killed has left; the agent, process 1, may be writing files of its own."""
    for name in posix.listdir(STATE):
        if name.startswith(".version-") or (name.startswith(".staged-") and not name.startswith(".staged-1-")):
            try:
                posix.unlink(f"{STATE}/{name}")
            except OSError:
                pass  # something that the guest put there


def sync_folder(path):
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY)
    try:
        posix.fsync(descriptor)
    finally:
        posix.close(descriptor)


def sync_file(name):
    try:
        with open_state_file(name) as file:
            posix.fsync(file.fileno())
    except Damaged:
        pass  # the guest has removed it: that is found when it is read


def staging_path():
    global _staged
    _staged += 1
    return f"{STATE}/.staged-{posix.getpid()}-{_staged}"


def bytes_of(data):
    """A flat view of what a pickler writes: bytes, or the buffer of an array."""
    return memoryview(data).cast("B") if type(data) in (bytes, bytearray, memoryview) else data.raw()


def write_all(descriptor, data):
    view = bytes_of(data)
    while len(view):
        view = view[posix.write(descriptor, view) :]


class Allowance:
    """What the files of one version that is being made may take together."""

    def __init__(self, limit):
        self._left = limit

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
    Takes the data of one group as it is pickled: small data stays in memory, the rest goes to a file. What exceeds the
    allowance is counted only.
    """

    def __init__(self, durable, allowance):
        self._durable = durable
        self._allowance = allowance
        self._parts = []
        self._path = self._descriptor = None
        self._digest = None
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
        if self._descriptor is None and self.size <= INLINE_BYTES:
            self._parts.append(bytes(data))
            return size
        if self._descriptor is None:
            self._path = staging_path()
            try:
                self._descriptor = posix.open(self._path, FILE_FLAGS, 0o600)
            except OSError as cause:
                raise WriteFailed(f"its data cannot be written: {cause.strerror}") from cause
            self._digest = fast_sha256()
            for part in self._parts:
                self._put(part)
            self._parts.clear()
        self._put(data)
        return size

    def _put(self, data):
        if not self._allowance.take(len(data)):
            self.discard()
            self.has_overflowed = True
        if self.has_overflowed:
            return
        self._taken += len(data)
        self._digest.update(data)
        try:
            write_all(self._descriptor, data)
        except OSError as cause:
            raise WriteFailed(f"its data cannot be written: {cause.strerror}") from cause

    def finish(self, files):
        """Where the data lies, as [file, offset, size, digest], and how many bytes were written for it."""
        if self._descriptor is None:
            data = b"".join(self._parts)
            return files.add_inline(data), 0
        name = self._digest.hexdigest()
        written = 0
        if _size_of(f"values/{name}") == self.size:
            self.discard()
        else:
            if self._durable:
                posix.fsync(self._descriptor)
            posix.close(self._descriptor)
            put_in_place(self._path, f"{VALUES}/{name}")
            written = self.size
        return [f"values/{name}", 0, self.size, name], written

    def discard(self):
        if self._descriptor is not None:
            posix.close(self._descriptor)
            posix.unlink(self._path)
            self._descriptor = None
            self._allowance.give_back(self._taken)
            self._taken = 0


def _size_of(name):
    try:
        return posix.lstat(f"{STATE}/{name}").st_size
    except OSError:
        return -1


class InlineData:
    """The data area of a version's file that is being made."""

    def __init__(self, version):
        self._file = f"versions/{version}"
        self.data = bytearray()

    def add_inline(self, data):
        place = [self._file, len(self.data), len(data), sha256(data).hexdigest()]
        self.data += data
        return place


def write_version(header, data, durable, stage, on_disk=frozenset()):
    """
    Writes a version's file; with `stage` under a name that commit_version() changes. With `durable` all that it needs is put
    on disk, but for the files that are known to be there.
    """
    text = to_json(header)
    content = PREFIX.pack(MAGIC, len(text), sha256(text).digest()) + text + data
    descriptor, size = open_version(staged_version(header["version"]))
    try:
        write_all(descriptor, content)
        if size > len(content):
            posix.ftruncate(descriptor, len(content))
        if durable:
            posix.fsync(descriptor)
    finally:
        posix.close(descriptor)
    if durable:
        make_folders()
        for name in files_of(header) - on_disk - {f"versions/{header['version']}"}:
            sync_file(name)
        sync_folder(VALUES)
    if not stage:
        commit_version(header["version"], durable)


def open_version(path):
    """To be written from its start: (descriptor, bytes that are there already)."""
    try:
        posix.rename(SPARE, path)
    except OSError:
        pass  # there is none
    try:
        descriptor = posix.open(path, FILE_FLAGS & ~posix.O_TRUNC, 0o600)
    except OSError:
        descriptor = None  # no file: something that the guest put there
    else:
        status = posix.fstat(descriptor)
        if S_ISREG(status.st_mode) and status.st_nlink == 1:
            return descriptor, status.st_size
        posix.close(descriptor)  # known under another name, too: of a copy by links, or the guest's
    put_aside(path)
    return posix.open(path, FILE_FLAGS | posix.O_EXCL, 0o600), 0


def put_aside(path):
    """Whatever is there, it is not in the way any more."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:
        posix.rename(path, staging_path())  # a folder: it stays the guest's


def put_in_place(path, target):
    """Gives a file that was written its name, also when the program has removed the folder that it belongs into."""
    try:
        posix.rename(path, target)
    except FileNotFoundError:
        make_folders()
        posix.rename(path, target)


def staged_version(version):
    return f"{STATE}/.version-{version}"


def commit_version(version, durable):
    put_in_place(staged_version(version), f"{VERSIONS}/{version}")
    if durable:
        sync_folder(VERSIONS)


def _names_in(folder):
    try:
        return posix.listdir(folder)
    except OSError:
        return []  # the program has removed it


def version_numbers():
    """Those in the folder, newest first."""
    return sorted((int(name) for name in _names_in(VERSIONS) if name.isdecimal() and len(name) < 16), reverse=True)


def open_state_file(name):
    try:
        descriptor = posix.open(f"{STATE}/{name}", posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as cause:
        raise Damaged(f"{name} cannot be opened: {cause.strerror}") from cause
    if not S_ISREG(posix.fstat(descriptor).st_mode):
        posix.close(descriptor)
        raise Damaged(f"{name} is no file")
    return open(descriptor, "rb", buffering=0)


def read_exactly(file, size):
    content = bytearray(size)
    view = memoryview(content)
    while len(view):
        count = file.readinto(view[:CHUNK_BYTES])
        if not count:
            raise Damaged("the file is cut short")
        view = view[count:]
    return content


def read_header(version):
    """The header of a version. Raises Damaged."""
    try:
        return _read_header(version)
    except (Damaged, OSError) as cause:
        raise Damaged(f"version {version}: {cause}") from cause


def _read_header(version):
    with open_state_file(f"versions/{version}") as file:
        magic, size, digest = PREFIX.unpack(read_exactly(file, PREFIX.size))
        if magic != MAGIC or size > MAX_HEADER_BYTES:
            raise Damaged("it is no state file")
        text = bytes(read_exactly(file, size))
    if sha256(text).digest() != digest:
        raise Damaged("it does not match its checksum")
    try:
        header = parse_json(text)
        check_header(header, version)
    except (FrameError, KeyError, TypeError, ValueError, AttributeError) as cause:
        raise Damaged("it is not readable") from cause
    return header


def check_header(header, version):
    """Raises one of the errors of a wrong shape: a guest can write a header of its own, with the right digest."""
    if header["version"] != int(version) or type(header["version"]) is not int:
        raise ValueError("it is another version")
    if type(header["run"]) is not str or len(header["run"]) > 64 or type(header["modules"]) is not dict:
        raise ValueError("its run or modules are of another kind")
    result = header["result"]
    if result is not None and (result["outcome"] not in ("ok", "raised", "exited") or result["exit_code"] not in range(256)):
        raise ValueError("its result is of another kind")
    if result is not None and not _is_error(result["error"]):
        raise ValueError("its error is of another kind")
    for item in header["not_kept"]:
        if any(type(item[key]) is not str or len(item[key]) > 1024 for key in ("name", "type", "reason")):
            raise ValueError("what it has not kept is of another kind")
    for group in header["groups"]:
        name, offset, size, digest = group["at"]
        if type(name) is not str or type(digest) is not str or min(offset, size) < 0 or not group["names"]:
            raise ValueError("a group is of another kind")
        if not len(group["names"]) == len(group["types"]) == len(group["reprs"]):
            raise ValueError("a group is of another kind")


ERROR_SIZES = {"name": 1024, "message": 8192, "traceback": 65_536}


def _is_error(error):
    """As a run's error is told."""
    if error is None:
        return True
    return error.keys() == ERROR_SIZES.keys() and all(type(error[key]) is str and len(error[key]) <= most for key, most in ERROR_SIZES.items())


def data_offset(version):
    with open_state_file(f"versions/{version}") as file:
        _, size, _ = PREFIX.unpack(read_exactly(file, PREFIX.size))
    return PREFIX.size + size


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


def open_value(place):
    """The data at a place, as a file to read from; what was made of it counts once its verify() passed. Raises Damaged."""
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


def places_of(header):
    """Where everything lies that a version is made of."""
    places = [group["at"] for group in header["groups"]] + list(header["sources"].values())
    return places if header["extras"] is None else [*places, header["extras"]]


def files_of(header):
    """Names of the files that a version needs, its own included."""
    return {place[0] for place in places_of(header)} | {f"versions/{header['version']}"}


def is_whole(header):
    """Whether all files that a version needs are there: its own may be for the sake of a later one."""
    return all(_size_of(name) >= 0 for name in files_of(header))


class Shelf:
    """The versions that are kept, and which files they need: what nobody needs any more is removed."""

    def __init__(self):
        self.keep = {"versions": 20, "bytes": 1 << 30}
        self.on_disk = frozenset()  # names of files that are known to be
        self._files = None
        self._sizes = {}  # of the files of kept versions
        self._bytes = 0  # of all of them
        self._flushed = []  # the last version that was put on disk; two of them while the newer one is only staged
        self._flushed_at = time.monotonic()

    @property
    def is_flush_due(self):
        """Of the versions that an earlier kernel left it is not known which is on disk: until one of its own is, all stay."""
        if self._files is None and version_numbers():
            return True
        return time.monotonic() - self._flushed_at > FLUSH_SECONDS

    def must_flush(self, header):
        """Whether a new version and the one that is on disk take more than both may: the new one must be on disk, too."""
        if self._bytes + header["written"] <= self.keep["bytes"] or not self._files:
            return False
        sizes = _sizes_of(header)
        for version in self._flushed:
            sizes |= {name: self._sizes.get(name, 0) for name in self._files.get(version, ())}
        return sum(sizes.values()) > self.keep["bytes"]

    def _read(self, but):
        """Once: what an earlier kernel left. What cannot be read any more is not needed by anybody."""
        self._files = {}
        for version in version_numbers():
            if version != but and len(self._files) < self.keep["versions"] + 2:
                try:
                    self._enter(read_header(version))
                except (Damaged, OSError, KeyError, TypeError):
                    continue
        self._flushed = sorted(self._files)[: -self.keep["versions"]]
        return {f"{folder}/{name}" for folder in ("versions", "values") for name in _names_in(f"{STATE}/{folder}")}

    def _enter(self, header):
        version = header["version"]
        self._files[version] = files_of(header)
        for name, size in {**_sizes_of(header), f"versions/{version}": max(0, _size_of(f"versions/{version}"))}.items():
            self._bytes += size - self._sizes.get(name, 0)
            self._sizes[name] = size

    def add(self, header, staged, durable):
        """
        Takes in a new version; removes the oldest beyond what is kept, with the files that only it needed. While it is only
        staged, the one before it is what counts.
        """
        version = header["version"]
        present = self._read(version) if self._files is None else set()
        self._enter(header)
        if durable:
            self.on_disk |= self._files[version]
            self._flushed = [*self._flushed[-1:], version] if staged else [version]
            self._flushed_at = time.monotonic()
        self._remove(set(present), present)
        least = 2 if staged else 1
        surplus = len(self._files) - max(least, self.keep["versions"])
        for at, old in enumerate(sorted(self._files)[:-least]):
            if at >= surplus and self._bytes <= self.keep["bytes"]:
                break
            if old not in self._flushed:
                self._remove(self._files.pop(old), present)

    def _remove(self, names, present):
        """Removes those that no kept version needs; `present`: what an earlier kernel left may be anything."""
        unneeded = names.difference(*self._files.values())
        self.on_disk -= unneeded
        for name in unneeded:
            self._bytes -= self._sizes.pop(name, 0)
            try:
                if name.startswith("versions/") and name not in present:
                    posix.rename(f"{STATE}/{name}", SPARE)
                else:
                    posix.unlink(f"{STATE}/{name}")
            except OSError:
                pass  # gone already, or something that the guest put there


def _sizes_of(header):
    """What the files take that a version needs; of versions' own files, as much as it uses."""
    sizes = {}
    for name, offset, size, _ in places_of(header):
        sizes[name] = max(sizes.get(name, 0), offset + size)
    return sizes


def listing(limit):
    """What is saved, for people: variables of the newest version, and all versions. Reads headers only."""
    versions, variables, not_kept = [], [], []
    for version in version_numbers()[:MAX_LISTED_VERSIONS]:
        try:
            header = read_header(version)
            if not is_whole(header):
                continue  # only its small groups are there still, for later versions
            entry = {key: header[key] for key in ("version", "run", "at", "changed", "written", "bytes")}
            rows = variables_of(header)[:limit] if not versions else variables
        except Exception:
            continue  # damaged, or written by the guest: it is not listed
        if not versions:
            not_kept = header["not_kept"][:limit]
            variables = rows
        versions.append(entry)
    return {"versions": versions, "variables": variables, "not_kept": not_kept}


def variables_of(header):
    rows = [
        {"name": name, "type": kind, "repr": text, "bytes": group["at"][2], "shared_with": len(group["names"]) - 1}
        for group in header["groups"]
        for name, kind, text in zip(group["names"], group["types"], group["reprs"])
    ]
    rows += [
        {"name": name, "type": "module", "repr": f"<module {module!r}>", "bytes": 0, "shared_with": 0}
        for name, module in header["modules"].items()
    ]
    return sorted(rows, key=lambda row: row["name"])


def now_ms():
    return int(time.time() * 1000)


def copy_version(version, to):
    """Makes an earlier version the newest, under a new number. Raises Damaged when it is not kept."""
    header = read_header(version)
    if not is_whole(header):
        raise Damaged(f"version {version} is not kept any more")
    header.update(version=to, at=now_ms(), changed=["*"], written=0)
    write_version(header, b"", durable=True, stage=False)
