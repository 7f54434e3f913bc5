"""Runs of fields of fixed size: one gather for all of them, then one column per field."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.cursor import Cursor, Lone, Move
from bridge.cdr.layout import Primitive
from bridge.cdr.source import SLAB_BYTES, Positions, Source
from bridge.cdr.steps import Repairs

_QUAD_BIAS = 16383
_QUAD_EXPONENT_MAX = 0x7FFF
_DOUBLE_BIAS = 1023
_DOUBLE_EXPONENT_MAX = 0x7FF


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedLeaf:
    """One field inside a run.

    Attributes:
        offset_bytes: Where it lies in the run.
        kind: What its value is, or each of its values.
        length: The number of values of a fixed array, or None for a single value.
        type: The Arrow type of the column.
    """

    offset_bytes: int
    kind: Primitive
    length: int | None
    type: pa.DataType

    @property
    def values_per_row(self) -> int:
        """How many values a row has."""
        return 1 if self.length is None else self.length

    @property
    def size_bytes(self) -> int:
        """Bytes of the field on the wire."""
        return self.kind.size_bytes * self.values_per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRun:
    """Fields of fixed size whose distances are known: one range of bytes in every row.

    Attributes:
        move: The padding before the run.
        size_bytes: Length of the run, inner padding included.
        leaves: The fields, in order.
    """

    move: Move
    size_bytes: int
    leaves: tuple[FixedLeaf, ...]

    def advance(self, cursor: Cursor) -> None:
        """Step behind the run."""
        self.move.apply(cursor.at)
        cursor.at += self.size_bytes

    def advance_lone(self, lone: Lone) -> None:
        """Step behind the run."""
        lone.at = self.move.applied(lone.at) + self.size_bytes

    def locate(self, cursor: Cursor) -> "LocatedRun":
        """Step behind the run and remember where it lay."""
        self.move.apply(cursor.at)
        starts = cursor.where()
        cursor.at += self.size_bytes
        return LocatedRun(run=self, starts=starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedRun:
    """A run and its position in every row, shape (n,)."""

    run: FixedRun
    starts: Positions

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy the fields out, one Arrow array each."""
        del repairs  # bytes of fixed size can be wrong, but not invalid
        return gather_leaves(source, self.starts, self.run.size_bytes, self.run.leaves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The dummy member of an empty ROS 1 message: a column of zeros that is nowhere on the wire."""

    def advance(self, cursor: Cursor) -> None:
        """Leave the cursors where they are."""

    def advance_lone(self, lone: Lone) -> None:
        """Leave the walker where it is."""

    def locate(self, cursor: Cursor) -> "LocatedAbsent":
        """Leave the cursors where they are and remember how many rows there are."""
        return LocatedAbsent(count=len(cursor))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedAbsent:
    """So many rows of nothing."""

    count: int

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Make the zeros."""
        del source, repairs  # nothing is read
        zeros = np.zeros(self.count, dtype=np.uint8)
        return [pa.Array.from_buffers(pa.uint8(), self.count, [None, pa.py_buffer(zeros)])]


def gather_leaves(
    source: Source, starts: Positions, size_bytes: int, leaves: tuple[FixedLeaf, ...]
) -> list[pa.Array]:
    """Copy fields of the ranges at `starts`, shape (n,), into one Arrow array per leaf.

    Cost: one copy for a run of one field, else two, the first within the cache. Linear in
    n * size_bytes.
    """
    if not leaves:
        return []
    if len(leaves) == 1:
        only = leaves[0]
        raws = [source.fixed(starts + only.offset_bytes, only.size_bytes)]
    else:
        raws = _columns(len(starts), leaves)
        rows = max(SLAB_BYTES // size_bytes, 1)
        for first in range(0, len(starts), rows):
            slab = source.fixed(starts[first : first + rows], size_bytes)
            split_leaves(slab, leaves, raws, first)
    return [wrap_leaf(leaf, raw, swap=source.swap) for leaf, raw in zip(leaves, raws, strict=True)]


def split_records(
    records: NDArray[np.void], leaves: tuple[FixedLeaf, ...], *, swap: bool
) -> list[pa.Array]:
    """Split contiguous records, shape (n,), into one Arrow array per leaf; one copy."""
    raws = _columns(len(records), leaves)
    split_leaves(records, leaves, raws, 0)
    return [wrap_leaf(leaf, raw, swap=swap) for leaf, raw in zip(leaves, raws, strict=True)]


def split_leaves(
    records: NDArray[np.void], leaves: tuple[FixedLeaf, ...], columns: list[Any], first: int
) -> None:
    """Copy the fields of records, shape (k,), into rows `first` to `first + k` of the columns."""
    fields = records.view(
        np.dtype(
            {
                "names": [str(index) for index in range(len(leaves))],
                "formats": [column.dtype for column in columns],
                "offsets": [leaf.offset_bytes for leaf in leaves],
                "itemsize": records.dtype.itemsize,
            }
        )
    )
    for index, column in enumerate(columns):
        column[first : first + len(records)] = fields[str(index)]


def wrap_leaf(leaf: FixedLeaf, raw: Any, *, swap: bool) -> pa.Array:
    """Make the Arrow array of a leaf from its bytes, shape (n,)."""
    values = values_array(leaf.kind, raw, len(raw) * leaf.values_per_row, swap=swap)
    if leaf.length is None:
        return values
    return pa.Array.from_buffers(leaf.type, len(raw), [None], children=[values])


def _columns(count: int, leaves: tuple[FixedLeaf, ...]) -> list[Any]:
    """Allocate a column of bytes per leaf; sizes that are integers copy fastest as integers."""
    return [
        np.empty(
            count,
            dtype=f"u{leaf.size_bytes}"
            if leaf.size_bytes in {1, 2, 4, 8}
            else f"V{leaf.size_bytes}",
        )
        for leaf in leaves
    ]


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
