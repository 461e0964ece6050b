"""Which versions of saved state are kept, and which files they need."""

import posix
import time

from state_files import SPARE, STATE, Damaged, names_in, size_of
from state_versions import files_of, pieced_of, places_of, read_header, version_numbers

FLUSH_SECONDS = 5.0


class KeptVersions:
    """The versions that are kept, and which files they need: what nobody needs any more is removed."""

    def __init__(self):
        self.keep = {"versions": 20, "bytes": 1 << 30}
        self.on_disk = frozenset()  # names of files that are known to be
        self._files = {}  # of each kept version
        self._has_read = False
        self._sizes = {}  # of the files of kept versions, but for pieces
        self._pieces = {}  # by the file of its list, those of each value in pieces: name -> size
        self._users = {}  # of each piece: how many lists have it
        self._bytes = 0  # of all of them
        self._flushed = []  # the last version that was put on disk; two of them while the newer one is only staged
        self._flushed_at = time.monotonic()

    @property
    def is_flush_due(self):
        """
        Of the versions that an earlier kernel left it is not known which is on disk: until one of its own is, all stay.
        """
        if not self._has_read and version_numbers():
            return True
        return time.monotonic() - self._flushed_at > FLUSH_SECONDS

    def must_flush(self, header):
        """
        Whether a new version and the one that is on disk take more than both may: the new one must be on disk, too.
        """
        if self._bytes + header["written"] <= self.keep["bytes"] or not self._files:
            return False
        sizes = _sizes_of(header)
        for pieces in pieced_of(header).values():
            sizes |= dict(pieces)
        for version in self._flushed:
            for name in self._files.get(version, ()):
                sizes |= self._pieces.get(name, {name: self._sizes.get(name, 0)})
        return sum(sizes.values()) > self.keep["bytes"]

    def _read(self, but):
        """Once: what an earlier kernel left. What cannot be read any more is not needed by anybody."""
        self._has_read = True
        for version in version_numbers():
            if version != but and len(self._files) < self.keep["versions"] + 2:
                try:
                    self._enter(read_header(version))
                except (Damaged, OSError, KeyError, TypeError):
                    continue
        self._flushed = sorted(self._files)[: -self.keep["versions"]]
        return {f"{folder}/{name}" for folder in ("versions", "values") for name in names_in(f"{STATE}/{folder}")}

    def _enter(self, header):
        version = header["version"]
        self._files[version] = files_of(header)
        for name, size in {**_sizes_of(header), f"versions/{version}": max(0, size_of(f"versions/{version}"))}.items():
            self._bytes += size - self._sizes.get(name, 0)
            self._sizes[name] = size
        for name, pieces in pieced_of(header).items():
            if name not in self._pieces:
                self._enter_pieces(name, dict(pieces))

    def _enter_pieces(self, name, pieces):
        self._pieces[name] = pieces
        for piece, size in pieces.items():
            self._users[piece] = self._users.get(piece, 0) + 1
            if self._users[piece] == 1:
                self._bytes += size

    def _remove_pieces(self, name):
        """Those of a list that nobody needs, but for what other lists have, too."""
        for piece, size in self._pieces.pop(name, {}).items():
            self._users[piece] -= 1
            if self._users[piece] == 0:
                del self._users[piece]
                self._bytes -= size
                self.on_disk -= {f"values/{piece}"}
                try:
                    posix.unlink(f"{STATE}/values/{piece}")
                except OSError:
                    pass  # gone already

    def add(self, header, staged, durable):
        """
        Takes in a new version; removes the oldest beyond what is kept, with the files that only it needed. While it is
        only staged, the one before it is what counts.
        """
        version = header["version"]
        present = set() if self._has_read else self._read(version)
        self._enter(header)
        if durable:
            lists = self._pieces.keys() & (self._files[version] - self.on_disk)
            pieces = {f"values/{piece}" for name in lists for piece in self._pieces[name]}
            self.on_disk |= self._files[version] | pieces
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

    def sweep(self):
        """After a save that has failed: removes values that it has made, and that no kept version needs."""
        needed = set().union(*self._files.values()) | {f"values/{piece}" for piece in self._users}
        if self._has_read:
            for name in names_in(f"{STATE}/values"):
                if f"values/{name}" not in needed:
                    try:
                        posix.unlink(f"{STATE}/values/{name}")
                    except OSError:
                        pass  # something that the guest put there

    def _remove(self, names, present):
        """Removes those that no kept version needs; `present`: what an earlier kernel left may be anything."""
        unneeded = names.difference(*self._files.values())
        if present:
            unneeded -= {f"values/{piece}" for piece in self._users}
        self.on_disk -= unneeded
        for name in unneeded:
            self._remove_pieces(name)
            self._bytes -= self._sizes.pop(name, 0)
            try:
                if name.startswith("versions/") and name not in present:
                    posix.rename(f"{STATE}/{name}", SPARE)
                else:
                    posix.unlink(f"{STATE}/{name}")
            except OSError:
                pass  # gone already, or something that the guest put there


def _sizes_of(header):
    """What the files take that a version needs, but for pieces; of versions' own files, as much as it uses."""
    sizes, pieced = {}, {group["at"][0] for group in header["groups"] if group.get("is_pieced")}
    for name, offset, size, _ in places_of(header):
        if name in pieced:
            continue
        sizes[name] = max(sizes.get(name, 0), offset + size)
    return sizes
