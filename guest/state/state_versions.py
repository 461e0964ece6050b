"""Versions of saved state: their headers, written and read. See state_files.py for the format."""

import posix
import time
from _sha2 import sha256
from _struct import Struct

from pieces import known_pieces
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
from state_header import WrongShape, check_header
from wire import FrameError, parse_json, to_json

MAGIC = b"ERASTATE"
PREFIX = Struct(">8sI32s")
MAX_HEADER_BYTES = 64 << 20


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
        pieced = pieced_of(header)
        for name in files_of(header) - on_disk - {f"versions/{header['version']}"}:
            for piece in (f"values/{piece}" for piece, _ in pieced.get(name, ())):
                if piece not in on_disk:
                    sync_file(piece)
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
    except FrameError as cause:
        raise Damaged("it is not readable") from cause
    except WrongShape as cause:
        raise Damaged(f"it is not readable ({cause})") from cause
    return header


def data_offset(version):
    with open_state_file(f"versions/{version}") as file:
        _, size, _ = PREFIX.unpack(read_exactly(file, PREFIX.size))
    return PREFIX.size + size


def places_of(header):
    """Where everything lies that a version is made of."""
    places = [group["at"] for group in header["groups"]] + list(header["sources"].values())
    return places if header["extras"] is None else [*places, header["extras"]]


def files_of(header):
    """Names of the files that a version needs, its own included; of a value in pieces, that of its list."""
    return {place[0] for place in places_of(header)} | {f"versions/{header['version']}"}


def pieced_of(header):
    """By the file of its list, the pieces of each value that is in pieces."""
    places = (group["at"] for group in header["groups"] if group.get("is_pieced"))
    return {place[0]: known_pieces(place) for place in places}


def is_whole(header):
    """Whether all files that a version needs are there: its own may be for the sake of a later one."""
    pieces = (f"values/{name}" for pieces in pieced_of(header).values() for name, _ in pieces)
    return all(size_of(name) >= 0 for name in (*files_of(header), *pieces))


def now_ms():
    return int(time.time() * 1000)


def copy_version(version, to):
    """Makes an earlier version the newest, under a new number. Raises Damaged when it is not kept."""
    header = read_header(version)
    if not is_whole(header):
        raise Damaged(f"version {version} is not kept any more")
    header.update(version=to, at=now_ms(), changed=["*"], written=0)
    write_version(header, b"", stage=False, on_disk=frozenset())
