"""What the agent does with files of the session, from inside the sandbox: seed files, .session_data.json, counts.

All of it runs as the guest's own user behind the guest's own mounts, so a link that the guest planted can lead only
to what the guest could reach anyway.
"""

import os
import stat
import time

WORKSPACE = "/workspace"
DATA_FILE = WORKSPACE + "/.session_data.json"
MAX_DATA_BYTES = 2 << 20
MAX_CHANGED = 100
MAX_TOLD_CHARS = 500  # of which each may count twice for the server
COUNT_BUDGET = 2_000
CLOCK_REALTIME_COARSE = 5  # the clock that file times are taken from


def file_clock_ns():
    return time.clock_gettime_ns(CLOCK_REALTIME_COARSE)


def open_up():
    """Makes the session's folders usable by their owner again: a guest may have closed them to itself."""
    for folder in (WORKSPACE, "/root"):
        os.chmod(folder, 0o700)


def write_seed(path, content):
    """Writes one file given with a request; its path was checked by the server."""
    target = os.path.join(WORKSPACE, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(content)


class SessionData:
    """Keeps .session_data.json equal to the session's data before a run, and reads back what the run left there."""

    def __init__(self):
        self._content = b"{}"
        self._seen = None

    def put(self, content):
        """Makes sure that the file holds `content`, or what it held last when that is None."""
        if content is not None:
            self._content = content
        if content is None and self._seen is not None and self._signature() == self._seen:
            return
        try:
            self._write()
            self._seen = self._signature()
        except OSError:
            self._seen = None  # a full disk must not keep the session from running code that frees it

    def take(self):
        """The new content if the run replaced it by a regular file of sane size, else None."""
        signature = self._signature()
        if signature is None or signature == self._seen:
            return None
        try:
            descriptor = os.open(DATA_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        with open(descriptor, "rb") as file:
            content = file.read(MAX_DATA_BYTES + 1)
        if len(content) > MAX_DATA_BYTES:
            return None
        return content

    def _write(self):
        staged = DATA_FILE + ".new"
        clear(staged)
        # Made anew, so that nothing which the guest put there in the meantime is opened.
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:
            file.write(self._content)
        # One second back, so that any later write is seen, even one of equal size within the same clock tick.
        past = file_clock_ns() - 1_000_000_000
        os.utime(staged, ns=(past, past))
        try:
            os.rename(staged, DATA_FILE)
        except OSError:
            clear(DATA_FILE)
            os.rename(staged, DATA_FILE)

    @staticmethod
    def _signature():
        try:
            info = os.lstat(DATA_FILE)
        except OSError:
            return None
        return info.st_ino, info.st_mtime_ns, info.st_size, info.st_mode


def clear(path):
    """Removes whatever a guest put at a name that is the agent's."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:
        _remove_folder(path)


def _remove_folder(path):
    """However deep it is, and however closed to its owner: these programs walk by descriptors."""
    for command in (["/bin/chmod", "-R", "u+rwx", "--", path], ["/bin/rm", "-rf", "--", path]):
        try:
            os.waitpid(os.posix_spawn(command[0], command, {}), 0)
        except OSError:
            pass  # the guest holds every process slot; the next run's end tries again


def empty():
    """Removes all that is in the workspace: what a session that keeps no files is left with after a run."""
    open_up()
    for name in os.listdir(WORKSPACE):
        clear(os.path.join(WORKSPACE, name))


def flush_files(since_ns):
    """
    Puts what was written since a file time on disk; where there are too many files to look at, all that is unwritten.
    """
    paths = []
    if count_files(since_ns, paths) is None:
        os.sync()
        return
    for path in {*paths, *map(os.path.dirname, paths)}:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # removed, or not readable for its owner
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def look_at_files(since_ns):
    """The same with the paths of those that were modified, as far as they are text, and not too many."""
    changed = []
    counts = count_files(since_ns, changed)
    if counts is None:
        return None
    names = [path.removeprefix(WORKSPACE + "/") for path in changed[: 2 * MAX_CHANGED]]
    return {**counts, "changed": [name for name in names if _is_told(name)][:MAX_CHANGED]}


def _is_told(name):
    """Whether it can be said to the server: lone surrogates stand for bytes that are no text."""
    return len(name) <= MAX_TOLD_CHARS and not any(0xD800 <= ord(letter) <= 0xDFFF for letter in name)


def count_files(since_ns, changed=None):
    """
    Files in the workspace as {files, bytes, modified since a file time}, or None when there are too many to look at.
    """
    files = size = modified = 0
    budget = COUNT_BUDGET
    folders = [WORKSPACE]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        budget -= len(entries)
        if budget < 0:
            return None
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False) and entry.path != DATA_FILE:
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                files += 1
                size += info.st_size
                modified += info.st_mtime_ns >= since_ns
                if changed is not None and info.st_mtime_ns >= since_ns:
                    changed.append(entry.path)
    return {"files": files, "bytes": size, "modified": modified}
