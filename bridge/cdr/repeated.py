"""What hardly ever changes within a recording: names of frames and joints, and lists of them.

Where the bytes of such a part are the same in every row, those of the first row are decoded and
its columns repeated. Telling so costs one copy of the bytes, which is less than decoding them.
Where only the lengths in it are the same, as in most lists of transforms, the first row is walked
and shows the way through all others.
"""

from dataclasses import dataclass
from math import isqrt

import numpy as np
import pyarrow as pa

from bridge.cdr.cursor import Cursor
from bridge.cdr.source import SLAB_BYTES, Positions, Source
from bridge.cdr.steps import Located, Repairs

REPEATED_ROWS_MIN = 64
"""Fewer rows than this are not worth a look whether they are all alike."""

REPEATED_SAMPLE_ROWS = 8
"""How many of them are looked at first, so that it costs little where they are not."""

REPEATED_BYTES_MAX = 16 << 10
"""Longer parts are not compared."""


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
