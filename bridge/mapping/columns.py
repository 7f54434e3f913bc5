"""Arrow arrays built from arrays: zeros, nulls, structs, lists and bytes, without touching rows.

Where a struct or list is null, what lies under it is zero or empty and never null itself: that is
how the platform's other writers lay it out, and it costs no validity bitmaps below the top.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def zeros(value_type: pa.DataType, rows: int) -> pa.Array:
    """Make rows that are all zero, empty text, or empty lists; cost: one untouched allocation."""
    return _blank(value_type, rows, validity=None)


def absent(value_type: pa.DataType, rows: int) -> pa.Array:
    """Make rows that are all null over zeros; cost: as `zeros`, and one bit per row."""
    return _blank(value_type, rows, validity=_zero_buffer((rows + 7) // 8))


def _blank(value_type: pa.DataType, rows: int, validity: pa.Buffer | None) -> pa.Array:
    nulls = 0 if validity is None else rows
    buffers, children = [validity], None
    if pa.types.is_struct(value_type):
        children = [zeros(child.type, rows) for child in value_type]
    elif pa.types.is_fixed_size_list(value_type):
        children = [zeros(value_type.value_type, rows * value_type.list_size)]
    elif pa.types.is_list(value_type):
        buffers.append(_zero_buffer(4 * (rows + 1)))
        children = [zeros(value_type.value_type, 0)]
    elif pa.types.is_string(value_type) or pa.types.is_binary(value_type):
        buffers += [_zero_buffer(4 * (rows + 1)), _zero_buffer(0)]
    else:
        buffers.append(_zero_buffer((rows * value_type.bit_width + 7) // 8))
    return pa.Array.from_buffers(value_type, rows, buffers, nulls, 0, children)


def _zero_buffer(size_bytes: int) -> pa.Buffer:
    # A slice cannot be written to.
    return _ZEROS.slice(0, size_bytes) if size_bytes <= len(_ZEROS) else _zero_pages(size_bytes)


def _zero_pages(size_bytes: int) -> pa.Buffer:
    # numpy asks for pages that are zero already, so nothing is written until somebody reads.
    return pa.py_buffer(np.zeros(size_bytes, np.uint8))


_ZEROS = _zero_pages(1 << 20)
"""What all blank columns share, so that it is neither allocated nor written for any of them."""


def constant(value: object, value_type: pa.DataType, rows: int) -> pa.Array:
    """Make rows that all hold one value."""
    return pa.repeat(pa.scalar(value, value_type), rows)


def struct(
    value_type: pa.StructType,
    children: Mapping[str, pa.Array],
    rows: int,
    *,
    valid: Mask | None = None,
) -> pa.StructArray:
    """Make structs out of their children; children not given are null.

    Args:
        value_type: The struct.
        children: Arrays of `rows` values by child name; children that are not nullable must be
            among them.
        rows: Number of structs.
        valid: Shape (rows,): False where the struct is null; None where none is.

    Cost: no copy of any child; one bit per row where some are null.
    """
    fields = list(value_type)
    arrays = [
        children[field.name] if field.name in children else _unset(field, rows) for field in fields
    ]
    mask = None if valid is None or valid.all() else pa.array(~valid)
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask)


def _unset(field: pa.Field, rows: int) -> pa.Array:
    assert field.nullable, f"a mapping left out {field.name}, which every row must have"
    return absent(field.type, rows)


def nullable(values: pa.Array, valid: Mask) -> pa.Array:
    """Null out rows of numbers or text that have no nulls yet; no copy of the values.

    Args:
        values: n numbers or strings; null strings should be empty ones, whose bytes are not needed.
        valid: Shape (n,): False where a row becomes null.
    """
    if valid.all():
        return values
    if pa.types.is_string(values.type):
        data = values.buffers()[2]
        start = int(np.frombuffer(values.buffers()[1], np.int32)[values.offset])
        contents = [
            pa.py_buffer(list_offsets(values)),
            data.slice(start) if data is not None else pa.py_buffer(b""),
        ]
    else:
        width_bytes = values.type.bit_width // 8
        contents = [values.buffers()[1].slice(values.offset * width_bytes)]
    return pa.Array.from_buffers(values.type, len(values), [_bitmap(valid), *contents])


def _bitmap(valid: Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def lists(
    value_type: pa.ListType,
    offsets: NDArray[np.int32],
    values: pa.Array,
    *,
    valid: Mask | None = None,
) -> pa.ListArray:
    """Make lists out of their boundaries and flat values, without copying either.

    Args:
        value_type: The list type.
        offsets: Shape (rows + 1,): where each list starts, and where the last one ends.
        values: All elements one after another.
        valid: Shape (rows,): False where the list is null; None where none is.
    """
    validity = None
    if valid is not None and not valid.all():
        validity = _bitmap(valid)
    return pa.Array.from_buffers(
        value_type,
        len(offsets) - 1,
        [validity, pa.py_buffer(offsets)],
        children=[values],
    )


def list_offsets(array: pa.Array) -> NDArray[np.int32]:
    """Give the boundaries of lists, strings or bytes, starting at 0; no copy if they do.

    Args:
        array: n rows of a type with 32-bit offsets, sliced or not.

    Returns:
        Shape (n + 1,), counted from the first element of the first row.
    """
    if len(array) == 0:
        return np.zeros(1, np.int32)
    raw = np.frombuffer(array.buffers()[1], np.int32)
    offsets = raw[array.offset : array.offset + len(array) + 1]
    return offsets if offsets[0] == 0 else offsets - offsets[0]


def list_values(array: pa.ListArray) -> pa.Array:
    """Give the elements of all rows of a list one after another, without copying."""
    if len(array) == 0:
        return array.values.slice(0, 0)
    raw = np.frombuffer(array.buffers()[1], np.int32)
    first, last = raw[array.offset], raw[array.offset + len(array)]
    return array.values.slice(int(first), int(last - first))


def lengths(array: pa.Array) -> NDArray[np.int32]:
    """Give the number of bytes or elements of each row of strings, bytes or lists."""
    return np.diff(list_offsets(array))


def as_binary(array: pa.ListArray) -> pa.BinaryArray:
    """Read lists of uint8 as bytes; no copy of the bytes.

    Args:
        array: n rows of list<uint8> without nulls, sliced or not.
    """
    values = list_values(array)
    data = values.buffers()[1]
    data = pa.py_buffer(b"") if data is None else data.slice(values.offset, len(values))
    return pa.Array.from_buffers(
        pa.binary(), len(array), [None, pa.py_buffer(list_offsets(array)), data]
    )


def as_numpy(array: pa.Array) -> NDArray[Any]:
    """View numbers without nulls as numpy; a copy only for bools."""
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=not pa.types.is_boolean(array.type))
    return numbers
