"""Images, compressed images and camera calibration.

A PNG here is what the platform's readers expect of an Image with format `png`: 8 bit grey, as wide
as a row has bytes. Images are compressed only when that is asked for. Compression runs in zlib,
outside the interpreter's lock, in threads of its own: the thread that maps everything else only
waits for a batch of images to come back.
"""

import os
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from struct import pack

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.mapping.columns import Mask, as_numpy, constant, list_offsets, struct
from bridge.mapping.pieces import Columns, header
from bridge.mapping.source import Note, Source
from bridge.ontology import ROI, Vector2d

INT32_MAX = 2**31 - 1

UNKNOWN_CODEC = "raw"
"""What the platform's readers take for bytes of any other kind."""

CODECS = {
    **{name: name for name in ("raw", "png", "jpeg", "jpg", "tiff", "h264", "hevc")},
    "tif": "tiff",
    **dict.fromkeys(("mjpeg", "mjpg"), "jpeg"),
    **dict.fromkeys(("avc", "avc1", "h.264", "x264", "libx264"), "h264"),
    **dict.fromkeys(("h265", "h.265", "hev1", "hvc1", "x265", "libx265"), "hevc"),
}
"""The formats that a CompressedImage of the platform can name, by the names that are in use."""

SEPARATORS = re.compile(r"[\s;,]+")


def image(source: Source) -> Columns:
    """Map an Image, its bytes as they were recorded."""
    return _image(source) | {
        "data": source.binary("data"),
        "format": constant("raw", pa.string(), source.rows),
    }


def image_as_png(source: Source) -> Columns:
    """Map an Image, its bytes as a grey PNG of step x height; raw where they are not that many.

    The PNG is a container for bytes, padding included, not a picture to look at: that is how the
    platform's own readers expect it. Compressing costs tens of milliseconds a megapixel.
    """
    columns = _image(source)
    data, packed = grey_pngs(
        source.binary("data"),
        widths=source.numbers("step", pa.uint32()),
        heights=source.numbers("height", pa.uint32()),
    )
    names = pa.array(["raw", "png"])
    return columns | {"data": data, "format": names.take(pa.array(packed.astype(np.int32)))}


def _image(source: Source) -> Columns:
    is_bigendian = source.numbers("is_bigendian", pa.uint8())
    source.reject(is_bigendian > 1, "image whose is_bigendian is neither 0 nor 1")
    return {
        "header": header(source),
        "width": _int32(source, "width"),
        "height": _int32(source, "height"),
        "stride": _int32(source, "step"),
        "encoding": source.column("encoding", pa.string()),
        "is_bigendian": pa.array(is_bigendian.astype(np.bool_)),
    }


def _int32(source: Source, name: str) -> pa.Int32Array:
    numbers = source.numbers(name, pa.uint32())
    source.reject(numbers > INT32_MAX, f"image whose {name} is over {INT32_MAX}")
    return pa.array(numbers.astype(np.int32))


def compressed_image(source: Source) -> Columns:
    """Map a CompressedImage; few distinct formats are parsed once each, never one per row."""
    return {
        "header": header(source),
        "data": source.binary("data"),
        "format": codecs(source, "format"),
    }


def codecs(source: Source, name: str) -> pa.StringArray:
    """Map a field that names a codec; the texts as recorded are noted, because names are lossy."""
    encoded = source.column(name, pa.string()).dictionary_encode()
    counts = np.bincount(as_numpy(encoded.indices), minlength=len(encoded.dictionary))
    texts = [str(text) for text in encoded.dictionary]
    for text, count in zip(texts, counts, strict=True):
        source.note(Note.FORMATS, text, int(count))
    parsed = [parse_format(text) for text in texts]
    return pa.array(parsed, pa.string()).take(encoded.indices)


def parse_format(text: str) -> str:
    """Find the codec in the format string of an image transport.

    Transports write `jpeg`, `bgr8; jpeg compressed bgr8` or `16UC1; compressedDepth png`, drivers
    that are no transports also `bgr8; jpeg`, encoders `h264_nvenc`. Where the platform's own bridge
    finds a codec, this is the one; where it finds none, the first word that names one counts. No
    string costs the message.

    Returns:
        A value of `CODECS`; `raw` where nothing in the string names one.
    """
    named = (codec for word in SEPARATORS.split(text) if (codec := _codec(word)))
    return _codec(_by_transport(text.split())) or next(named, UNKNOWN_CODEC)


def _codec(word: str) -> str:
    """Give the platform's name for a codec, empty for none; encoders add where they run."""
    name = word.lower()
    return CODECS.get(name) or CODECS.get(name.partition("_")[0], "")


def _by_transport(words: list[str]) -> str:
    """Give the word that is the codec by the order in which transports write; empty for none."""
    if len(words) == 1:
        return words[0]
    if ("compressed" in words) == ("compressedDepth" in words):
        return ""
    return words[1] if "compressed" in words else next(iter(words[2:]), "png")


def region(source: Source) -> Columns:
    """Map a RegionOfInterest."""
    columns: Columns = {
        "offset": _pair(source, "x_offset", "y_offset"),
        "height": source.column("height", pa.uint32()),
        "width": source.column("width", pa.uint32()),
    }
    if source.has("do_rectify"):
        columns["do_rectify"] = source.column("do_rectify", pa.bool_())
    return columns


def _pair(source: Source, x: str, y: str, *, valid: Mask | None = None) -> pa.StructArray:
    children = {"x": source.column(x, pa.float64()), "y": source.column(y, pa.float64())}
    return struct(Vector2d.struct, children, source.rows, valid=valid)


def camera_info(source: Source) -> Columns:
    """Map a CameraInfo; ROS 1 spells the matrices with capitals."""
    binned = (source.numbers("binning_x", pa.uint32()) > 1) & (
        source.numbers("binning_y", pa.uint32()) > 1
    )
    roi = source["roi"]
    columns = region(roi)
    cropped = np.zeros(source.rows, np.bool_)
    for name in ("x_offset", "y_offset", "height", "width"):
        cropped |= roi.numbers(name, pa.uint32()) != 0
    if roi.has("do_rectify"):
        cropped |= roi.numbers("do_rectify", pa.bool_())
    return {
        "header": header(source),
        "height": source.column("height", pa.uint32()),
        "width": source.column("width", pa.uint32()),
        "distortion_model": source.column("distortion_model", pa.string()),
        "distortion_parameters": _matrix(source, "d", pa.list_(pa.float64())),
        "intrinsic_parameters": _matrix(source, "k", pa.list_(pa.float64(), 9)),
        "rectification_parameters": _matrix(source, "r", pa.list_(pa.float64(), 9)),
        "projection_parameters": _matrix(source, "p", pa.list_(pa.float64(), 12)),
        "binning": _pair(source, "binning_x", "binning_y", valid=binned),
        "roi": struct(ROI.struct, columns, source.rows, valid=cropped),
    }


def _matrix(source: Source, name: str, value_type: pa.DataType) -> pa.Array:
    return source.column(name if source.has(name) else name.upper(), value_type)


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
            _chunk(b"IHDR", pack(">II", width, height) + GREY_8_BIT),
            _chunk(b"IDAT", zlib.compress(filtered.data, COMPRESSION_LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    crc = zlib.crc32(body, zlib.crc32(kind))
    return pack(">I", len(body)) + kind + body + pack(">I", crc)
