"""Frames: how the agent talks to the server and to its kernels.

A frame is two big-endian 32-bit lengths, a JSON header and a binary payload:

    u32 header length | u32 payload length | header (JSON object) | payload

The JSON codec is the C half of the standard json package, used directly: importing json itself costs
9 ms (it pulls in re and enum), which is more than the rest of the agent's start.
"""

from _json import encode_basestring_ascii, make_encoder, make_scanner
from _struct import Struct

LENGTHS = Struct(">II")
MAX_HEADER_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 64 << 20


class FrameError(Exception):
    """The peer sent something that is not a frame."""


class _ScannerOptions:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _refuse(value):
    raise TypeError(f"cannot encode a {type(value).__name__}")


_scan = make_scanner(_ScannerOptions())  # pyright: ignore[reportArgumentType]  any object with these attributes
_encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)


def to_json(value):
    """The value as compact ASCII JSON, in bytes."""
    return "".join(_encode(value, 0)).encode()


def encode_frame(header, payload=b""):
    text = to_json(header)
    return b"".join((LENGTHS.pack(len(text), len(payload)), text, payload))


def parse_json(raw):
    """One JSON object from bytes. Raises FrameError on anything else."""
    try:
        text = raw.decode()
        header, end = _scan(text, 0)
    except (UnicodeDecodeError, StopIteration, ValueError, RecursionError) as cause:
        raise FrameError("the header is not JSON") from cause
    if end != len(text) or type(header) is not dict:
        raise FrameError("the header is not one JSON object")
    return header


def take_frame(buffer):
    """Removes the first whole frame from a bytearray: (header, payload), or None until more bytes arrive."""
    if len(buffer) < LENGTHS.size:
        return None
    header_size, payload_size = LENGTHS.unpack_from(buffer)
    if header_size > MAX_HEADER_BYTES or payload_size > MAX_PAYLOAD_BYTES:
        raise FrameError("the frame is too long")
    body = LENGTHS.size + header_size
    if len(buffer) < body + payload_size:
        return None
    header = parse_json(buffer[LENGTHS.size : body])
    payload = bytes(buffer[body : body + payload_size])
    del buffer[: body + payload_size]
    return header, payload
