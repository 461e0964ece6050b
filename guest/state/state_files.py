"""Saved state on disk: one file for each version, and one for each large value, in the session's state folder.

    versions/<number>   magic | u32 header bytes | SHA-256 of the header | header (JSON) | data of small groups
    values/<SHA-256>    data of one large group; the same content is stored once (gaps in it: see mapping.py)

The header of a version names, for each group of linked variables, where its data lies: in its own file, in that of
an earlier version, or in a value's file. A file is written beside its name, then renamed: it is whole or not there.

The oldest version's file, when that is not kept any more, becomes the next one's: to make a file and remove another
with each run costs a file system more than all else of a save. What is not put on disk at once is from time to time,
and a version that is on disk stays until another one is: a machine that loses power finds it, whatever became of the
later ones.

The files of all kept versions take `Keep.bytes` at most: the oldest versions go first. A state that is larger by itself
is not written at all. While a version is written, the ones before it are still there: twice that is on disk for a
moment.
"""

import posix
from _stat import S_ISREG

# By posix, not os: a program that replaces os.open for its session does not change how its state is kept.
STATE = "/run/era-state"
VERSIONS, VALUES = STATE + "/versions", STATE + "/values"
CHUNK_BYTES = 1 << 20
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


def size_of(name):
    try:
        return posix.lstat(f"{STATE}/{name}").st_size
    except OSError:
        return -1


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


def digest_of(data):
    digest = fast_sha256()
    digest.update(data)
    return digest.hexdigest()


def put_value(name, data, durable):
    """Makes a file of `values`, whole or not at all. Answers whether it was not there."""
    if size_of(f"values/{name}") == len(data):
        return False
    path = staging_path()
    descriptor = posix.open(path, FILE_FLAGS, 0o600)
    try:
        write_all(descriptor, data)
        if durable:
            posix.fsync(descriptor)
    except OSError:
        posix.unlink(path)
        raise
    finally:
        posix.close(descriptor)
    put_in_place(path, f"{VALUES}/{name}")
    return True


def put_in_place(path, target):
    """Gives a file that was written its name, also when the program has removed the folder that it belongs into."""
    try:
        posix.rename(path, target)
    except FileNotFoundError:
        make_folders()
        posix.rename(path, target)


def staged_version(version):
    return f"{STATE}/.version-{version}"


def names_in(folder):
    try:
        return posix.listdir(folder)
    except OSError:
        return []  # the program has removed it


def open_state_file(name):
    try:
        descriptor = posix.open(
            f"{STATE}/{name}", posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK
        )
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
