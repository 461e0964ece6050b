"""Versions of saved state: their headers, written and read. See state_files.py for the format."""

import posix
import time
from _sha2 import sha256
from _struct import Struct

from state_files import (
    VALUES,
    VERSIONS,
    Damaged,
    make_folders,
    names_in,
    open_state_file,
    open_version,
    put_in_place,
    read_exactly,
    size_of,
    staged_version,
    sync_file,
    sync_folder,
    write_all,
)
from wire import FrameError, parse_json, to_json

MAGIC = b"ERASTATE"
PREFIX = Struct(">8sI32s")
MAX_HEADER_BYTES = 64 << 20
ERROR_SIZES = {"name": 1024, "message": 8192, "traceback": 65_536}


def write_version(header, data, stage, on_disk=None):
    """
    Writes a version's file; with `stage` under a name that commit_version() changes. With `on_disk`, names of the files
    that are known to be there, all others that it needs are put on disk, too.
    """
    durable = on_disk is not None
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
    if on_disk is not None:
        make_folders()
        for name in files_of(header) - on_disk - {f"versions/{header['version']}"}:
            sync_file(name)
        sync_folder(VALUES)
    if not stage:
        commit_version(header["version"], durable)


def commit_version(version, durable):
    put_in_place(staged_version(version), f"{VERSIONS}/{version}")
    if durable:
        sync_folder(VERSIONS)


def version_numbers():
    """Those in the folder, newest first."""
    return sorted((int(name) for name in names_in(VERSIONS) if name.isdecimal() and len(name) < 16), reverse=True)


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
    if result is not None and (
        result["outcome"] not in ("ok", "raised", "exited") or result["exit_code"] not in range(256)
    ):
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


def _is_error(error):
    """As a run's error is told."""
    if error is None:
        return True
    return error.keys() == ERROR_SIZES.keys() and all(
        type(error[key]) is str and len(error[key]) <= most for key, most in ERROR_SIZES.items()
    )


def data_offset(version):
    with open_state_file(f"versions/{version}") as file:
        _, size, _ = PREFIX.unpack(read_exactly(file, PREFIX.size))
    return PREFIX.size + size


def places_of(header):
    """Where everything lies that a version is made of."""
    places = [group["at"] for group in header["groups"]] + list(header["sources"].values())
    return places if header["extras"] is None else [*places, header["extras"]]


def files_of(header):
    """Names of the files that a version needs, its own included."""
    return {place[0] for place in places_of(header)} | {f"versions/{header['version']}"}


def is_whole(header):
    """Whether all files that a version needs are there: its own may be for the sake of a later one."""
    return all(size_of(name) >= 0 for name in files_of(header))


def now_ms():
    return int(time.time() * 1000)


def copy_version(version, to):
    """Makes an earlier version the newest, under a new number. Raises Damaged when it is not kept."""
    header = read_header(version)
    if not is_whole(header):
        raise Damaged(f"version {version} is not kept any more")
    header.update(version=to, at=now_ms(), changed=["*"], written=0)
    write_version(header, b"", stage=False, on_disk=frozenset())
