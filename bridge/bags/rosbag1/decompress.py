"""Decompressing the chunks of ROS 1 bags, as far as they go."""

import bz2

import pyarrow as pa

from bridge.bags.compression import pieces_of

COMPRESSIONS = frozenset({"none", "bz2", "lz4"})

_MORE = "the chunk holds more than it claims"

_PIECE_BYTES = 1 << 12
_READ_BYTES = 1 << 16


def decompress(data: bytes, *, compression: str, size_bytes: int) -> tuple[bytes, str]:
    """Decompress a chunk.

    Nothing is allocated beyond the claimed size.

    Args:
        data: The chunk as stored.
        compression: One of `COMPRESSIONS`.
        size_bytes: How big the chunk claims to be.

    Returns:
        The decompressed part, and why it is not all; an empty reason where it is.
    """
    content, reason = _DECOMPRESS[compression](data, size_bytes)
    if not reason and len(content) != size_bytes:
        reason = f"the chunk has {len(content)} bytes instead of {size_bytes}"
    return content, reason


def _none(data: bytes, size_bytes: int) -> tuple[bytes, str]:
    return data[:size_bytes], ""


def _bz2(data: bytes, size_bytes: int) -> tuple[bytes, str]:
    """Try all at once, then small pieces: what the decoder holds when it fails is lost."""
    for piece_bytes in (len(data), _PIECE_BYTES):
        done, reason = _fed(data, size_bytes, max(piece_bytes, 1))
        if not reason:
            break
    return done, reason


def _fed(data: bytes, size_bytes: int, piece_bytes: int) -> tuple[bytes, str]:
    """Feed a decoder piece by piece; its checksums are compared only at the stream's very end."""
    decoder = bz2.BZ2Decompressor()
    done = bytearray()
    try:
        for start in range(0, len(data), piece_bytes):
            piece = data[start : start + piece_bytes]
            while not decoder.eof:
                done += decoder.decompress(piece, max_length=size_bytes + 1 - len(done))
                piece = b""
                if len(done) > size_bytes:
                    return bytes(done[:size_bytes]), _MORE
                if decoder.needs_input:
                    break
    except OSError as error:
        return bytes(done), f"bz2: {error}"
    return bytes(done), "" if decoder.eof else "bz2: the stream is cut"


def _lz4(data: bytes, size_bytes: int) -> tuple[bytes, str]:
    stream = pa.CompressedInputStream(pa.BufferReader(data), "lz4")
    done = bytearray()
    try:
        # One byte more than there should be: the checksum is at the end of a frame.
        for piece in pieces_of(stream, min(_READ_BYTES, size_bytes + 1)):
            done += piece
            if len(done) > size_bytes:
                return bytes(done[:size_bytes]), _MORE
    except OSError as error:
        return bytes(done), f"lz4: {error}"
    return bytes(done), ""


_DECOMPRESS = {"none": _none, "bz2": _bz2, "lz4": _lz4}
