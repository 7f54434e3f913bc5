"""Reading scattered bytes of buffers: fixed and ragged gathers over arrays of positions.

These are the only places where payload bytes are touched. Each costs one copy of the bytes asked
for and nothing per message in Python.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.layout import LENGTH_BYTES

Positions = NDArray[np.int64]
"""int64, shape (n,): absolute byte positions in the buffers of a source."""

_PADDED_BYTES = 8
"""A buffer is made at least this long, so that a length can be read somewhere in it."""

_MAPPED_BYTES = 16 << 20
"""Results from here on are not made by malloc, which maps them anew each time: page faults."""

_LONG_RANGE_BYTES = 512
"""The mean length from which binary views are faster than take."""

_INLINE_BYTES = 12
"""Values up to this length lie in the view itself, not in a buffer."""

_ARROW_OFFSET_MAX = (1 << 31) - 1


class Source:
    """Buffers of payloads, seen as if they lay one behind the other, and their byte order.

    A position counts through all buffers, so that payloads which lie in several chunks of a file
    are decoded together without being copied together first. With one buffer, which is the usual
    case for small messages, nothing is spent on the choice.

    Args:
        buffers: uint8, each of its own shape, contiguous; at least one.
        swap: Whether numbers have the other byte order than this machine's.

    Attributes:
        swap: As above.
        bases: int64, shape (buffers,): the position of each buffer's first byte.
    """

    def __init__(self, *buffers: NDArray[np.uint8], swap: bool) -> None:
        self.swap = swap
        self._buffers = tuple(_padded(buffer) for buffer in buffers)
        sizes = np.array([len(buffer) for buffer in self._buffers], dtype=np.int64)
        self.bases: Positions = np.cumsum(sizes) - sizes
        self._windows: dict[tuple[int, int], NDArray[np.void]] = {}

    def buffer_at(self, position: int) -> tuple[NDArray[np.uint8], int]:
        """Give the buffer that a position lies in, and the position of its first byte."""
        owner = int(np.searchsorted(self.bases[1:], position, side="right"))
        return self._buffers[owner], int(self.bases[owner])

    def bytes_at(self, where: Positions) -> NDArray[np.uint8]:
        """Read the byte at each position, shape (n,)."""
        return self.fixed(where, 1).view(np.uint8)

    def lengths_at(self, where: Positions) -> Positions:
        """Read the unsigned 32-bit lengths at positions, as int64, shape (n,).

        Positions behind a buffer read its last bytes instead: whoever asked for them has left
        its payload, which is found when cursors are compared with the payloads' ends.
        """
        if len(self._buffers) == 1:
            raw = self._window(0, LENGTH_BYTES)[
                np.minimum(where, len(self._buffers[0]) - LENGTH_BYTES)
            ]
        else:
            raw = np.empty(len(where), dtype=f"V{LENGTH_BYTES}")
            for owner, rows, local in self._parts(where):
                last = len(self._buffers[owner]) - LENGTH_BYTES
                raw[rows] = self._window(owner, LENGTH_BYTES)[np.minimum(local, last)]
        lengths: NDArray[np.uint32] = raw.view(np.uint32)
        if self.swap:
            lengths.byteswap(inplace=True)
        return lengths.astype(np.int64)

    def fixed(self, starts: Positions, size_bytes: int) -> NDArray[np.void]:
        """Copy `size_bytes` from each position: opaque, shape (n,), contiguous. One copy."""
        if len(starts) == 0:
            return np.empty(0, dtype=f"V{size_bytes}")
        if len(self._buffers) == 1:
            return self._window(0, size_bytes)[starts]
        values = np.empty(len(starts), dtype=f"V{size_bytes}")
        for owner, rows, local in self._parts(starts):
            values[rows] = self._window(owner, size_bytes)[local]
        return values

    def ragged(self, starts: Positions, lengths: Positions) -> pa.Buffer:
        """Copy `lengths[i]` bytes from `starts[i]`, one range behind the other. One copy.

        Ranges may overlap and come in any order. The way is chosen by size, as measured: equal
        lengths (frame names, scans) are fastest through `fixed` as long as the result is no
        mapping of its own; long ranges (images, clouds) through binary views, which allocate
        exactly and from Arrow's pool, whose pages are warm; short ones through Arrow's take,
        which is a second copy where they lie in several buffers.
        """
        total = int(lengths.sum())
        if total == 0:
            return pa.py_buffer(b"")
        single = len(self._buffers) == 1
        if single and lengths.min() == lengths.max() and total < _MAPPED_BYTES:
            return pa.py_buffer(self.fixed(starts, int(lengths[0])))
        if total >= _LONG_RANGE_BYTES * len(starts) and fit_views(self._buffers, lengths):
            owners = self._owners(starts)
            return copied_views(self._buffers, owners, starts - self.bases[owners], lengths)
        if single:
            return _taken_ranges(self._buffers[0], starts, lengths)
        return self._joined_ranges(starts, lengths)

    def _joined_ranges(self, starts: Positions, lengths: Positions) -> pa.Buffer:
        """Copy ranges buffer by buffer, then once more into their order."""
        joined, begins, size = [], np.empty_like(starts), 0
        for owner, rows, local in self._parts(starts):
            ends = size + np.cumsum(lengths[rows])
            begins[rows] = ends - lengths[rows]
            size = int(ends[-1])
            joined.append(_taken_ranges(self._buffers[owner], local, lengths[rows]))
        data = np.concatenate([np.frombuffer(piece, dtype=np.uint8) for piece in joined])
        if (np.diff(begins) >= 0).all():
            return pa.py_buffer(data)
        return _taken_ranges(data, begins, lengths)

    def _owners(self, where: Positions) -> Positions:
        """Tell which buffer each position lies in; those behind all count to the last."""
        return np.searchsorted(self.bases[1:], where, side="right")

    def _parts(
        self, where: Positions
    ) -> Iterator[tuple[int, slice | NDArray[np.int64], Positions]]:
        """Split positions by buffer: its number, the rows, and the positions within it."""
        if len(self._buffers) == 1:
            yield 0, slice(None), where
            return
        owners = self._owners(where)
        for owner in np.flatnonzero(np.bincount(owners)):
            rows = np.flatnonzero(owners == owner)
            yield int(owner), rows, where[rows] - self.bases[owner]

    def _window(self, owner: int, size_bytes: int) -> NDArray[np.void]:
        """View a buffer as one opaque value of the size at every byte position; no copy."""
        view = self._windows.get((owner, size_bytes))
        if view is None:
            data = self._buffers[owner]
            count = max(len(data) - size_bytes + 1, 0)
            view = np.ndarray(
                (count,), dtype=f"V{size_bytes}", buffer=data if count else b"", strides=(1,)
            )
            self._windows[owner, size_bytes] = view
        return view


def _padded(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make sure that a length can be read somewhere, however short the buffer."""
    if len(data) >= _PADDED_BYTES:
        return data
    return np.concatenate([data, np.zeros(_PADDED_BYTES, dtype=np.uint8)])


def fit_views(buffers: Sequence[NDArray[np.uint8]], lengths: Positions) -> bool:
    """Tell whether ranges of these lengths, shape (n,), can be copied by `copied_views`."""
    return (
        len(lengths) > 0
        and int(lengths.sum()) <= _ARROW_OFFSET_MAX
        and int(lengths.min()) > _INLINE_BYTES
        and max(len(buffer) for buffer in buffers) <= _ARROW_OFFSET_MAX
    )


def copied_views(
    buffers: Sequence[NDArray[np.uint8]], owners: Positions, starts: Positions, lengths: Positions
) -> pa.Buffer:
    """Copy ranges of more than 12 bytes out of several buffers, one behind the other. One copy.

    The way is a binary view column. A view is four int32: length, first four bytes, index of the
    buffer, offset in it (Arrow columnar format, "Variable-size Binary View Layout"). The first
    four bytes serve comparisons only, which nobody makes here, and are left zero.

    Args:
        buffers: uint8, each of its own shape.
        owners: int64, shape (n,): which buffer each range lies in.
        starts: int64, shape (n,): first byte of each range in its buffer.
        lengths: int64, shape (n,): bytes of each range.
    """
    views = np.zeros((len(starts), 4), dtype=np.int32)
    views[:, 0] = lengths
    views[:, 2] = owners
    views[:, 3] = starts
    column = pa.Array.from_buffers(
        pa.binary_view(),
        len(starts),
        [None, pa.py_buffer(views), *(pa.py_buffer(buffer) for buffer in buffers)],
    )
    copied: Any = column.cast(pa.binary()).buffers()[2]
    return copied


def _taken_ranges(data: NDArray[np.uint8], starts: Positions, lengths: Positions) -> pa.Buffer:
    """Copy ranges of any length: every second of ranges that begin at start, end, start, end..."""
    count = len(starts)
    offsets = np.empty(2 * count + 2, dtype=np.int64)
    offsets[0] = 0
    offsets[1:-1:2] = starts
    np.add(starts, lengths, out=offsets[2:-1:2])
    offsets[-1] = len(data)
    ranges = pa.Array.from_buffers(
        pa.large_binary(),
        2 * count + 1,
        [None, pa.py_buffer(offsets), pa.py_buffer(data)],
    )
    taken: Any = ranges.take(pa.array(np.arange(1, 2 * count + 1, 2))).buffers()[2]
    return taken
