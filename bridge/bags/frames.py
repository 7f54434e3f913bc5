"""Frames of zstd and LZ4: decompressing them as far as they go, and where they end.

The slow path of the readers: for bytes whose sizes turned out to be wrong, which have something
behind their frames, or which break off. What is intact is read by Arrow in one call.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lz4.frame

from bridge.bags.formats import ZSTD_MAGIC

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LZ4_MAGIC = b"\x04\x22\x4d\x18"

CODECS = {ZSTD_MAGIC: "zstd", LZ4_MAGIC: "lz4"}
"""How frames start, and the codec of each."""

CUT = "the compressed stream is cut"

_OPENED: dict[str, Callable[[], Any]] = {
    "zstd": zstd.ZstdDecompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
}
_ERRORS = (zstd.ZstdError, RuntimeError)

# A frame of this kind carries no content: the magic's low four bits are free, a length follows.
_SKIPPABLE_END = b"\x2a\x4d\x18"

# How much is fed at once: where that fails, the decoder is asked for less and less, since an error
# takes with it what else came of the same call.
_STEPS = (1 << 16, 1 << 8, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """What frames hold.

    Attributes:
        data: The content.
        used_bytes: How many of the compressed bytes the whole frames took.
        reason: Why the content breaks off; empty where the last frame ended.
    """

    data: bytearray
    used_bytes: int
    reason: str = ""


def codec_of(head: bytes | memoryview) -> str | None:
    """Name the codec by which bytes start like a frame; None where they do not."""
    return CODECS.get(bytes(head[:4]))


def decode_frames(compressed: memoryview, codec: str, *, bytes_max: int) -> Frames:
    """Decompress frames one after the other; bytes behind the last one are left alone.

    Costs memory for what comes out, at most `bytes_max` and a little; where a frame breaks off, it
    is decompressed three times.

    Args:
        compressed: The frames, and whatever follows them.
        codec: `zstd` or `lz4`.
        bytes_max: What comes out before it is given up.
    """
    data = bytearray()
    position = 0
    while True:
        used, reason = _frame(_OPENED[codec], compressed[position:], data, bytes_max)
        if reason:
            return Frames(data=data, used_bytes=position, reason=reason)
        position += used
        position += _skippable_bytes(compressed[position:])
        if codec_of(compressed[position : position + 4]) != codec:
            return Frames(data=data, used_bytes=position)


def _frame(
    opened: Callable[[], Any], compressed: memoryview, data: bytearray, bytes_max: int
) -> tuple[int, str]:
    """Append the content of one frame; return how long it is, or why it breaks off."""
    fed, narrowed = 0, 0
    decoder = opened()
    while fed < len(compressed):
        piece = compressed[fed : fed + _STEPS[narrowed]]
        try:
            data += _fed(decoder, piece, bytes_max + 1 - len(data))
        except _ERRORS as error:
            narrowed += 1
            if narrowed == len(_STEPS):
                return 0, str(error)
            decoder = opened()
            _fed(decoder, compressed[:fed], bytes_max + 1)
            continue
        fed += len(piece)
        if len(data) > bytes_max:
            del data[bytes_max:]
            return 0, f"it holds more than {bytes_max} bytes"
        if decoder.eof:
            return fed - len(decoder.unused_data or b""), ""
    return 0, CUT


def _fed(decoder: Any, piece: memoryview, bytes_max: int) -> bytearray:
    """Feed a decoder, and take what it gives up to a bound."""
    out = bytearray(decoder.decompress(piece, max_length=bytes_max))
    while not decoder.eof and not decoder.needs_input and len(out) < bytes_max:
        out += decoder.decompress(b"", max_length=bytes_max - len(out))
    return out


def _skippable_bytes(data: memoryview) -> int:
    """Measure the frames without content at the start of bytes."""
    position = 0
    while (
        len(data) >= position + 8
        and data[position] >> 4 == 5  # noqa: PLR2004 (magic 0x184D2A50 to 0x184D2A5F)
        and data[position + 1 : position + 4] == _SKIPPABLE_END
    ):
        position += 8 + int.from_bytes(data[position + 4 : position + 8], "little")
    return min(position, len(data))


# -- what the headers of zstd frames say (RFC 8878, section 3.1) --

HEADER_BYTES_MAX = 18

# Sizes in bytes of the fields of a frame header, by the flags of its descriptor.
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)

# A content size of two bytes starts to count here, for smaller ones fit into one.
_TWO_BYTES_START = 256


def is_frame(head: bytes) -> bool:
    """Tell whether bytes start like a zstd frame."""
    return head.startswith(ZSTD_MAGIC)


def content_size(head: bytes) -> int | None:
    """Read how many bytes a frame claims to hold; None where it does not say.

    Args:
        head: The first `HEADER_BYTES_MAX` bytes of the frame, or all where it has fewer.
    """
    if not is_frame(head) or len(head) <= len(ZSTD_MAGIC):
        return None
    descriptor = head[len(ZSTD_MAGIC)]
    single_segment = bool(descriptor & 0x20)
    size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6]
    if single_segment and size_bytes == 0:
        size_bytes = 1
    start = len(ZSTD_MAGIC) + 1 + (not single_segment) + _DICTIONARY_ID_BYTES[descriptor & 3]
    field = head[start : start + size_bytes]
    if size_bytes == 0 or len(field) < size_bytes:
        return None
    return int.from_bytes(field, "little") + (_TWO_BYTES_START if size_bytes == 2 else 0)  # noqa: PLR2004


_BLOCK_HEADER_BYTES = 3
_BLOCK_RLE = 1
_CHECKSUM_BYTES = 4


def frames_end(read_at: Callable[[int, int], bytes], size_bytes: int) -> int:
    """Find where the last whole frame of a file ends, by hopping over frames and their blocks.

    Args:
        read_at: Reads bytes by position and size.
        size_bytes: How many bytes there are.
    """
    at = 0
    while at < size_bytes:
        end = _frame_end(read_at, at)
        if end is None or end > size_bytes:
            break
        at = end
    return at


def _frame_end(read_at: Callable[[int, int], bytes], start: int) -> int | None:
    head = read_at(start, 8)
    if len(head) == 8 and head[0] >> 4 == 5 and head[1:4] == _SKIPPABLE_END:  # noqa: PLR2004
        return start + 8 + int.from_bytes(head[4:], "little")
    if not is_frame(head) or len(head) <= len(ZSTD_MAGIC):
        return None
    descriptor = head[len(ZSTD_MAGIC)]
    single_segment = descriptor >> 5 & 1
    content_size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6]
    if single_segment and not content_size_bytes:
        content_size_bytes = 1
    at = start + len(ZSTD_MAGIC) + 1 + (1 - single_segment)
    at += _DICTIONARY_ID_BYTES[descriptor & 3] + content_size_bytes
    while True:
        raw = read_at(at, _BLOCK_HEADER_BYTES)
        if len(raw) < _BLOCK_HEADER_BYTES:
            return None
        block = int.from_bytes(raw, "little")
        kind, content_bytes = block >> 1 & 3, block >> 3
        at += _BLOCK_HEADER_BYTES + (1 if kind == _BLOCK_RLE else content_bytes)
        if block & 1:
            return at + (_CHECKSUM_BYTES if descriptor >> 2 & 1 else 0)


def has_spare_bytes(read_at: Callable[[int, int], bytes], size_bytes: int) -> bool:
    """Tell whether something follows whole frames that is no frame and so belongs to none."""
    end = frames_end(read_at, size_bytes)
    return 0 < end < size_bytes and not is_frame(read_at(end, len(ZSTD_MAGIC)))
