"""What the steps through a payload have in common: their protocols, repaired rows, Arrow shapes.

Some steps find the same in every row, for names of frames and joints, and lists of them, hardly
ever change within a recording.

Where the bytes of such a part are the same in every row, those of the first row are decoded and
its columns repeated. Telling so costs one copy of the bytes, which is less than decoding them.
Where only the lengths in it are the same, as in most lists of transforms, the first row is walked
and shows the way through all others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isqrt
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.cursor import Cursor, Lone
from bridge.cdr.source import SLAB_BYTES, Positions, Source

REPEATED_ROWS_MIN = 64
"""Fewer rows than this are not worth a look whether they are all alike."""

REPEATED_SAMPLE_ROWS = 8
"""How many of them are looked at first, so that it costs little where they are not."""

REPEATED_BYTES_MAX = 16 << 10
"""Longer parts are not compared."""


@dataclass(slots=True)
class Repairs:
    """The rows of one frame in which something had to be replaced, found leaf by leaf.

    Attributes:
        count: Rows of the frame.
        by_reason: For each reason a mask, shape (count,).
        implausible: How many characters no text would have: what was read was perhaps none.
    """

    count: int
    by_reason: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    implausible: int = 0

    def add(self, reason: str, rows: NDArray[np.bool_]) -> None:
        """Note the rows marked true, shape (count,)."""
        known = self.by_reason.get(reason)
        self.by_reason[reason] = rows if known is None else known | rows

    def add_elements(self, elements: "Repairs", offsets: Positions) -> None:
        """Note every row that owns a noted element; row i owns offsets[i] to offsets[i+1]."""
        self.implausible += elements.implausible
        for reason, found in elements.by_reason.items():
            owners = np.searchsorted(offsets, np.flatnonzero(found), side="right") - 1
            rows = np.zeros(self.count, dtype=bool)
            rows[owners] = True
            self.add(reason, rows)


class Located(Protocol):
    """Where the bytes of a step lie in every row, ready to be copied out."""

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy the leaf columns of the step out, in field order."""


class Step(Protocol):
    """A part of the way through a payload."""

    def advance(self, cursor: Cursor) -> None:
        """Step over it, in place."""

    def advance_lone(self, lone: Lone) -> None:
        """Step over it with a walker of its own."""

    def locate(self, cursor: Cursor) -> Located:
        """Step over it and remember where it lay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a value is put together: a leaf column, or a struct of shapes.

    Attributes:
        type: The Arrow type.
        members: The children of a struct in order, or None for a leaf.
    """

    type: pa.DataType
    members: "tuple[Shape, ...] | None" = None

    def build(self, leaves: Iterator[pa.Array], count: int) -> pa.Array:
        """Take as many leaf columns as the value has, in order, and nest them, shape (count,)."""
        if self.members is None:
            return next(leaves)
        children = [member.build(leaves, count) for member in self.members]
        return pa.Array.from_buffers(self.type, count, [None], children=children)


def list_array(kind: pa.DataType, counts: Positions, elements: pa.Array) -> pa.Array:
    """Make the list column whose rows have `counts` elements, shape (n,), one after the other."""
    if pa.types.is_fixed_size_list(kind):
        return pa.Array.from_buffers(kind, len(counts), [None], children=[elements])
    offsets = pa.py_buffer(offsets_of(counts))
    return pa.Array.from_buffers(kind, len(counts), [None, offsets], children=[elements])


def offsets_of(lengths: Positions) -> NDArray[np.int32]:
    """Give the Arrow offsets of rows with these lengths, shape (n,) -> shape (n + 1,)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedRepeated:
    """A part of the first of some rows, which is that of every other row, too."""

    first: Located
    rows: int

    def gather(self, source: Source, repairs: Repairs) -> list[pa.Array]:
        """Copy the first row's columns out and repeat them."""
        first_repairs = Repairs(1)
        columns = self.first.gather(source, first_repairs)
        repairs.implausible += first_repairs.implausible
        for reason, found in first_repairs.by_reason.items():
            repairs.add(reason, np.repeat(found, self.rows))
        return [repeated_array(column, self.rows) for column in columns]


def may_repeat(cursor: Cursor) -> bool:
    """Tell whether there are enough rows for a look."""
    return len(cursor) >= REPEATED_ROWS_MIN


def is_repeated(cursor: Cursor, size_bytes: int) -> bool:
    """Tell whether the next bytes of every row are those of the first, and inside its payload.

    Cost: one copy and one comparison of the bytes, unless a sample of the rows differs already.
    """
    if size_bytes > REPEATED_BYTES_MAX or not _fits(cursor, size_bytes):
        return False
    starts = cursor.where()
    return all(cursor.source.is_same_at(some, size_bytes) for some in (_sample_of(starts), starts))


def is_built_alike(cursor: Cursor, size_bytes: int, lengths_at: Positions) -> bool:
    """Tell whether the lengths in the next bytes of every row are those in the first.

    Cost: one gather of the lengths, unless a sample of the rows differs already.

    Args:
        cursor: In front of the bytes, which are aligned alike in every row.
        size_bytes: How many there are.
        lengths_at: int64, shape (k,): where the lengths lie, counted from the cursor.
    """
    if not _fits(cursor, size_bytes):
        return False
    starts = cursor.where()
    first = cursor.source.lengths_at(starts[0] + lengths_at)
    rows_at_once = max(SLAB_BYTES // max(lengths_at.nbytes, 1), 1)
    for some in (_sample_of(starts), starts):
        for row in range(0, len(some), rows_at_once):
            where = some[row : row + rows_at_once, np.newaxis] + lengths_at
            found = cursor.source.lengths_at(where.ravel()).reshape(where.shape)
            if (found != first).any():
                return False
    return True


def _fits(cursor: Cursor, size_bytes: int) -> bool:
    return size_bytes > 0 and not bool((cursor.at + size_bytes > cursor.end).any())


def _sample_of(starts: Positions) -> Positions:
    return starts[:: max(len(starts) // REPEATED_SAMPLE_ROWS, 1)]


def repeated_array(first: pa.Array, rows: int) -> pa.Array:
    """Repeat a column of one row, of any type.

    Joining is what Arrow does fastest with nested columns; in two rounds it takes twice the root
    of the rows in place of all of them.
    """
    some = pa.concat_arrays([first] * isqrt(rows))
    return pa.concat_arrays([some] * (rows // len(some)) + [some.slice(0, rows % len(some))])
