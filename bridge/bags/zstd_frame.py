"""What a zstd frame says about itself before it is decompressed.

Layout: RFC 8878, section 3.1.1.
"""

MAGIC = b"\x28\xb5\x2f\xfd"

HEADER_BYTES_MAX = 18

# Sizes in bytes of the fields of a frame header, by the flags of its descriptor.
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)

# A content size of two bytes starts to count here, for smaller ones fit into one.
_TWO_BYTES_START = 256


def is_frame(head: bytes) -> bool:
    """Tell whether bytes begin like a zstd frame."""
    return head.startswith(MAGIC)


def content_size(head: bytes) -> int | None:
    """Read how many bytes a frame claims to hold; None where it does not say.

    Args:
        head: The first `HEADER_BYTES_MAX` bytes of the frame, or all where it has fewer.
    """
    if not is_frame(head) or len(head) <= len(MAGIC):
        return None
    descriptor = head[len(MAGIC)]
    single_segment = bool(descriptor & 0x20)
    size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6]
    if single_segment and size_bytes == 0:
        size_bytes = 1
    start = len(MAGIC) + 1 + (not single_segment) + _DICTIONARY_ID_BYTES[descriptor & 3]
    field = head[start : start + size_bytes]
    if size_bytes == 0 or len(field) < size_bytes:
        return None
    return int.from_bytes(field, "little") + (_TWO_BYTES_START if size_bytes == 2 else 0)  # noqa: PLR2004
