"""Pages of a file in place of a large buffer's own: nothing is copied, and only what is changed takes memory.

glibc's malloc gives a buffer of 32 MiB or more pages of its own, and begins it 16 bytes after the first of them. In a
value's file such data begins at an offset like that, so that its whole pages can be mapped, private and writable, over
those of the buffer that it is read into. Where a buffer lies otherwise, it is read as any other.
"""

MAPPED_BYTES = 32 << 20
PAGE, BUFFER_OFFSET = 4096, 16
PROT_READ_WRITE, MAP_PRIVATE_FIXED = 3, 0x12


def padding_before(offset, size):
    """How many bytes a value's file leaves unused before data of `size` that would begin at `offset`."""
    return (BUFFER_OFFSET - offset) % PAGE if size >= MAPPED_BYTES else 0


_mmap = None


def _map(address, size, descriptor, offset):
    """Whether private, writable pages of a file are there now."""
    global _mmap
    import ctypes

    if _mmap is None:
        _mmap = ctypes.CDLL(None).mmap
        _mmap.restype = ctypes.c_void_p
        _mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
    return _mmap(address, size, PROT_READ_WRITE, MAP_PRIVATE_FIXED, descriptor, offset) == address


def _address_of(view):
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def map_pages(descriptor, offset, view):
    """Puts the pages of a file in place of a buffer's: which part of `view` they are now, (0, 0) if there is none."""
    size = len(view)
    if size < MAPPED_BYTES:
        return 0, 0
    address = _address_of(view)
    if address % PAGE != BUFFER_OFFSET or offset % PAGE != BUFFER_OFFSET:
        return 0, 0
    start = PAGE - BUFFER_OFFSET
    end = start + (size - start) // PAGE * PAGE
    return (start, end) if _map(address + start, end - start, descriptor, offset + start) else (0, 0)


def map_whole_pages(descriptor, offset, view):
    """The same from the beginning of `view`, a part of such a buffer: how many bytes of it are the file's now."""
    size = len(view) // PAGE * PAGE
    if size == 0 or offset % PAGE != 0 or (address := _address_of(view)) % PAGE != 0:
        return 0
    return size if _map(address, size, descriptor, offset) else 0
