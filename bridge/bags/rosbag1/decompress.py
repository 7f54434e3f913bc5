"""Decompressing the chunks of ROS 1 bags, as far as they go and whatever size they claim."""

import bz2
from dataclasses import dataclass

from bridge.bags.compression import pieces_of
from bridge.bags.container import WRONG_CODEC
from bridge.bags.frames import LZ4_MAGIC, decode_frames
from bridge.facade import later

pa = later("pyarrow")

COMPRESSIONS = frozenset({"none", "bz2", "lz4"})

BZ2_MAGIC = b"BZh"

MORE = "the chunk holds more than the limit allows"

SPARE = "chunks with bytes behind their compressed stream"
WRONG_SIZE = "chunks whose size is not what they say"

_PIECE_BYTES = 1 << 12
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a chunk holds.

    Attributes:
        data: The decompressed part.
        reason: Why it is not all; empty where it is.
        contradictions: The claims of the chunk that turned out to be wrong.
    """

    data: bytes
    reason: str = ""
    contradictions: tuple[str, ...] = ()


def decompress(stored: bytes, *, compression: str, size_bytes: int, bytes_max: int) -> Content:
    """Decompress a chunk; the codec knows how much there is.

    Args:
        stored: The chunk as it is in the file.
        compression: What the chunk claims to be compressed with.
        size_bytes: How big it claims to be.
        bytes_max: How big it may become; nothing beyond is allocated.
    """
    codec = _codec_of(stored, compression)
    contradictions = [] if codec == compression else [WRONG_CODEC]
    if codec == "bz2":
        data, used_bytes, reason = _bz2(stored, bytes_max)
    elif codec == "lz4":
        data, used_bytes, reason = _lz4(stored, size_bytes, bytes_max)
    else:
        data, used_bytes, reason = stored[:bytes_max], len(stored), ""
    if not reason and used_bytes < len(stored):
        contradictions.append(SPARE)
    if not reason and len(data) != size_bytes:
        contradictions.append(WRONG_SIZE)
    return Content(data=data, reason=reason, contradictions=tuple(contradictions))


def _codec_of(stored: bytes, claimed: str) -> str:
    """Name the codec by the first bytes; no record of a chunk starts like these."""
    if stored.startswith(LZ4_MAGIC):
        return "lz4"
    if stored.startswith(BZ2_MAGIC):
        return "bz2"
    return claimed if claimed in COMPRESSIONS else "none"


def _bz2(data: bytes, bytes_max: int) -> tuple[bytes, int, str]:
    """Try all at once, then small pieces: what the decoder holds when it fails is lost."""
    for piece_bytes in (len(data), _PIECE_BYTES):
        done, used_bytes, reason = _fed(data, bytes_max, max(piece_bytes, 1))
        if not reason:
            break
    return done, used_bytes, reason


def _fed(data: bytes, bytes_max: int, piece_bytes: int) -> tuple[bytes, int, str]:
    """Feed a decoder piece by piece; its checksums are compared only at the stream's very end."""
    decoder = bz2.BZ2Decompressor()
    done = bytearray()
    fed = 0
    try:
        for start in range(0, len(data), piece_bytes):
            piece = data[start : start + piece_bytes]
            fed += len(piece)
            while not decoder.eof:
                done += decoder.decompress(piece, max_length=bytes_max + 1 - len(done))
                piece = b""
                if len(done) > bytes_max:
                    return bytes(done[:bytes_max]), 0, MORE
                if decoder.needs_input:
                    break
            if decoder.eof:
                return bytes(done), fed - len(decoder.unused_data), ""
    except OSError as error:
        return bytes(done), 0, f"bz2: {error}"
    return bytes(done), 0, "bz2: the stream is cut"


def _lz4(data: bytes, size_bytes: int, bytes_max: int) -> tuple[bytes, int, str]:
    """Believe the claimed size first, which is faster, and then nothing."""
    if size_bytes <= bytes_max:
        done = bytearray()
        try:
            stream = pa.CompressedInputStream(pa.BufferReader(data), "lz4")
            # One byte more than there should be: the checksum is at the end of a frame.
            for piece in pieces_of(stream, min(_READ_BYTES, size_bytes + 1)):
                done += piece
                if len(done) > size_bytes:
                    break
        except OSError:
            done.clear()
        if len(done) == size_bytes:
            return bytes(done), len(data), ""
    frames = decode_frames(memoryview(data), "lz4", bytes_max=bytes_max)
    reason = f"lz4: {frames.reason}" if frames.reason else ""
    return bytes(frames.data), frames.used_bytes, reason
