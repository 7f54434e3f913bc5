"""Bytes as grey PNG files: the one place where images are compressed, and only when asked to.

A PNG here is what the platform's readers expect of an Image with format `png`: 8 bit grey, as
wide as a row has bytes. Compression runs in zlib, outside the interpreter's lock, in threads of its
own: the thread that maps everything else only waits for a batch of images to come back.
"""

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.mapping.columns import list_offsets

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY_8_BIT = b"\x08\x00\x00\x00\x00"  # depth 8, grey, deflate, adaptive filters, not interlaced
COMPRESSION_LEVEL = 1


def grey_pngs(
    images: pa.BinaryArray, *, widths: NDArray[np.uint32], heights: NDArray[np.uint32]
) -> tuple[pa.BinaryArray, NDArray[np.bool_]]:
    """Compress every image that has exactly width x height bytes.

    Args:
        images: n images.
        widths: Shape (n,), bytes per row.
        heights: Shape (n,), rows.

    Returns:
        The PNG files, with the images that do not fit their size as they were, and which are
        PNG now, shape (n,). Cost: one compression per image, by nature, spread over all cores.
    """
    offsets = list_offsets(images).astype(np.int64)
    sizes = np.diff(offsets)
    fits = (sizes == widths.astype(np.int64) * heights) & (sizes > 0)
    data = np.frombuffer(images.buffers()[2] or b"", np.uint8)
    start = int(np.frombuffer(images.buffers()[1], np.int32)[images.offset]) if len(images) else 0

    def packed(index: int) -> bytes:
        pixels = data[start + offsets[index] : start + offsets[index + 1]]
        if not fits[index]:
            return pixels.tobytes()
        return grey_png(pixels.reshape(heights[index], widths[index]))

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="png") as pool:
        pieces = list(pool.map(packed, range(len(images))))
    return pa.array(pieces, pa.binary()), fits


def grey_png(pixels: NDArray[np.uint8]) -> bytes:
    """Write one PNG file of bytes with shape (height, width), no row filter."""
    height, width = pixels.shape
    filtered = np.zeros((height, width + 1), np.uint8)
    filtered[:, 1:] = pixels
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", struct.pack(">II", width, height) + GREY_8_BIT),
            _chunk(b"IDAT", zlib.compress(filtered.data, COMPRESSION_LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    crc = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
