"""What runs have answered, kept until the server has recorded it: in memory, and as a file where that may not be
enough.

A record is the frames of one run as they were, or would have been, sent: its output, then its end. A file is written
when a run was asked to be durable, or when nobody is on the line; it counts only if the state of its run was saved.
"""

import posix

import state_files

FOLDER = state_files.STATE + "/results"
MAX_FILE_BYTES = 64 << 20
MAX_FOUND = 1_000


class RunRecords:
    def __init__(self):
        self._frames = {}  # run -> [frame]
        self._ended = []
        self._files = set()

    def begin(self, run):
        self._frames[run] = []

    def add(self, run, frame):
        """Keeps a frame of a run that was begun; of a one-shot nothing is kept."""
        if run in self._frames:
            self._frames[run].append(frame)

    def replace_last(self, run, frame):
        if run in self._frames:
            self._frames[run][-1] = frame

    def end(self, run):
        if run in self._frames:
            self._ended.append(run)

    def frames_of(self, run):
        """The frames of a run as bytes; None when it is not known."""
        if run in self._frames:
            return b"".join(self._frames[run])
        if run in self._files:
            return _read(f"{FOLDER}/{run}")
        return None

    @property
    def unrecorded(self):
        return [*sorted(self._files.difference(self._ended)), *self._ended]

    def forget(self, runs):
        """The server has recorded these."""
        for run in runs:
            if run in self._ended:
                self._ended.remove(run)
                del self._frames[run]
            if run in self._files:
                self._files.discard(run)
                _remove(f"{FOLDER}/{run}")

    def store(self, run, version, durable):
        """Writes the record of an ended run beside the state of the session."""
        state_files.make_folder(FOLDER)
        staged = state_files.staging_path()
        descriptor = posix.open(staged, state_files.FILE_FLAGS, 0o600)
        try:
            state_files.write_all(descriptor, version.to_bytes(8, "big"))
            state_files.write_all(descriptor, self.frames_of(run))
            if durable:
                posix.fsync(descriptor)
        finally:
            posix.close(descriptor)
        posix.rename(staged, f"{FOLDER}/{run}")
        self._files.add(run)
        if durable:
            state_files.sync_folder(FOLDER)

    def find(self, saved_version):
        """At start: what an earlier agent left. A result whose state was not saved did not happen."""
        try:
            names = posix.listdir(FOLDER)
        except OSError:
            return
        for run in names[:MAX_FOUND]:
            content = _read(f"{FOLDER}/{run}", whole=True, most=8) if run.isidentifier() and len(run) <= 64 else None
            if content is not None and int.from_bytes(content, "big") <= saved_version:
                self._files.add(run)
            else:
                _remove(f"{FOLDER}/{run}")


def _read(path, whole=False, most=MAX_FILE_BYTES):
    try:
        with state_files.open_state_file(path.removeprefix(state_files.STATE + "/")) as file:
            content = file.read(most)
    except (OSError, state_files.Damaged):
        return None
    return content if whole else content[8:]


def _remove(path):
    try:
        posix.unlink(path)
    except OSError:
        pass  # something that the guest put there
