"""What hardly ever changes within a recording, as names of frames and joints: decoded once.

Where the bytes of such a part are the same in every row, those of the first row are decoded and
its columns repeated. Telling so costs one copy of the bytes, which is less than decoding them.
"""

from dataclasses import dataclass
from math import isqrt

import numpy as np
import pyarrow as pa

from bridge.cdr.cursor import Cursor
from bridge.cdr.rejects import Rejects
from bridge.cdr.source import Source
from bridge.cdr.steps import Located

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

    def gather(self, source: Source, rejects: Rejects) -> list[pa.Array]:
        """Copy the first row's columns out and repeat them."""
        first_rejects = Rejects(1)
        columns = self.first.gather(source, first_rejects)
        for reason, invalid in first_rejects.by_reason.items():
            rejects.add(reason, np.repeat(invalid, self.rows))
        return [repeated_array(column, self.rows) for column in columns]


def may_repeat(cursor: Cursor) -> bool:
    """Tell whether there are enough rows for a look."""
    return len(cursor) >= REPEATED_ROWS_MIN


def is_repeated(cursor: Cursor, size_bytes: int) -> bool:
    """Tell whether the next bytes of every row are those of the first, and inside its payload.

    Cost: one copy and one comparison of the bytes, unless a sample of the rows differs already.
    """
    if not 0 < size_bytes <= REPEATED_BYTES_MAX or (cursor.at + size_bytes > cursor.end).any():
        return False
    starts = cursor.where()
    sample = starts[:: max(len(starts) // REPEATED_SAMPLE_ROWS, 1)]
    return all(cursor.source.is_repeated(some, size_bytes) for some in (sample, starts))


def repeated_array(first: pa.Array, rows: int) -> pa.Array:
    """Repeat a column of one row, of any type.

    Joining is what Arrow does fastest with nested columns; in two rounds it takes twice the root
    of the rows in place of all of them.
    """
    some = pa.concat_arrays([first] * isqrt(rows))
    return pa.concat_arrays([some] * (rows // len(some)) + [some.slice(0, rows % len(some))])
