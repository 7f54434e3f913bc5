"""Contiguous payload bytes of one primitive -> an Arrow array of its values."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.layout import Primitive

_QUAD_BIAS = 16383
_QUAD_EXPONENT_MAX = 0x7FFF
_DOUBLE_BIAS = 1023
_DOUBLE_EXPONENT_MAX = 0x7FF


def values_array(kind: Primitive, raw: Any, count: int, *, swap: bool) -> pa.Array:
    """Wrap `count` values that lie one behind the other in a buffer.

    Numbers in this machine's byte order are not copied. Others are copied once more.

    Args:
        kind: What the values are.
        raw: A buffer of at least `count * kind.size_bytes` bytes that nobody else writes to.
        count: How many values there are.
        swap: Whether their byte order is the other one.
    """
    if pa.types.is_boolean(kind.arrow):
        flags = view_of(raw, "u1", count)
        return _from_numpy(kind.arrow, np.packbits(flags != 0, bitorder="little"), count)
    if kind.size_bytes == kind.arrow.bit_width // 8:
        if swap and kind.size_bytes > 1:
            numbers = view_of(raw, f"u{kind.size_bytes}", count)
            return _from_numpy(kind.arrow, numbers.byteswap(), count)
        buffer = raw if isinstance(raw, pa.Buffer) else pa.py_buffer(raw)
        return pa.Array.from_buffers(kind.arrow, count, [None, buffer])
    if pa.types.is_floating(kind.arrow):
        return _from_numpy(kind.arrow, _quads_as_doubles(raw, count, swap=swap), count)
    # A wide character in four bytes: ROS keeps its low sixteen bits, one UTF-16 code unit.
    units = view_of(raw, _ordered("u4", swap=swap), count)
    return _from_numpy(kind.arrow, units.astype(np.uint16), count)


def _from_numpy(arrow: pa.DataType, values: NDArray[Any], count: int) -> pa.Array:
    return pa.Array.from_buffers(arrow, count, [None, pa.py_buffer(values)])


def _ordered(code: str, *, swap: bool) -> np.dtype[Any]:
    dtype = np.dtype(code)
    return dtype.newbyteorder() if swap else dtype


def _quads_as_doubles(raw: Any, count: int, *, swap: bool) -> NDArray[np.float64]:
    """Round IEEE 754 binary128 values toward zero to binary64, shape (count,).

    Values below the normal range of a double become zero, values above it infinite.
    """
    words = view_of(raw, _ordered("u8", swap=swap), 2 * count).astype(np.uint64)
    high, low = (words[0::2], words[1::2]) if swap else (words[1::2], words[0::2])
    exponent = ((high >> np.uint64(48)) & np.uint64(_QUAD_EXPONENT_MAX)).astype(np.int64)
    fraction = high & np.uint64((1 << 48) - 1)
    mantissa = (fraction << np.uint64(4)) | (low >> np.uint64(60))
    rescaled = exponent - _QUAD_BIAS + _DOUBLE_BIAS
    special = exponent == _QUAD_EXPONENT_MAX
    is_nan = special & ((fraction | low) != 0)
    bits = np.where(
        special | (rescaled >= _DOUBLE_EXPONENT_MAX),
        np.uint64(_DOUBLE_EXPONENT_MAX << 52),
        np.where(
            rescaled <= 0, np.uint64(0), (rescaled.astype(np.uint64) << np.uint64(52)) | mantissa
        ),
    )
    bits = np.where(is_nan, np.uint64(0x7FF8 << 48), bits) | (high & np.uint64(1 << 63))
    doubles: NDArray[np.float64] = bits.view(np.float64)
    return doubles


def view_of(raw: Any, dtype: np.dtype[Any] | str, count: int) -> NDArray[Any]:
    """View the first bytes of a buffer as values, shape (count,); an empty buffer is allowed."""
    return np.ndarray((count,), dtype=dtype, buffer=raw if count else b"")
