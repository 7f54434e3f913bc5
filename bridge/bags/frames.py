"""Decompressing zstd and LZ4 frames as far as they go, whatever was claimed of them.

The slow path of the readers: for bytes whose sizes turned out to be wrong, which have something
behind their frames, or which break off. What is intact is read by Arrow in one call.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
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
