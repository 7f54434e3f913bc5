"""Images, compressed images and camera calibration."""

import re

import numpy as np
import pyarrow as pa

from bridge.mapping.columns import Mask, as_numpy, constant, struct
from bridge.mapping.pieces import Columns, header
from bridge.mapping.png import grey_pngs
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
