"""Reading scattered bytes of one buffer: fixed and ragged gathers over arrays of positions.

These are the only places where payload bytes are touched. Each costs one copy of the bytes asked
for and nothing per message in Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.layout import LENGTH_BYTES

Positions = NDArray[np.int64]
"""int64, shape (n,): absolute byte positions in the buffer."""

_PADDED_BYTES = 8
"""A buffer is made at least this long, so that a length can be read somewhere in it."""

SLAB_BYTES = 1 << 19
"""What is copied to be looked at only once stays in the second-level cache (measured: 4x)."""

_LOCKED_BYTES_MAX = 1 << 20
"""The most that is copied with the interpreter lock held, which other threads then wait for."""

_LONG_RANGE_BYTES = 512
"""The mean length from which binary views are faster than take."""

_INLINE_BYTES = 12
"""Values up to this length lie in the view itself, not in a buffer."""

ARROW_OFFSET_MAX = (1 << 31) - 1


@dataclass(slots=True)
class Source:
    """A buffer of payloads and the byte order they were written in.

    Attributes:
        data: uint8, shape (m,), contiguous.
        swap: Whether numbers have the other byte order than this machine's.
    """

    data: NDArray[np.uint8]
    swap: bool
    _windows: dict[int, NDArray[np.void]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make sure that a length can be read somewhere, however short the buffer."""
        if len(self.data) < _PADDED_BYTES:
            self.data = np.concatenate([self.data, np.zeros(_PADDED_BYTES, dtype=np.uint8)])

    def window(self, size_bytes: int) -> NDArray[np.void]:
        """View the buffer as one opaque value of the size at every byte position; no copy."""
        view = self._windows.get(size_bytes)
        if view is None:
            count = max(len(self.data) - size_bytes + 1, 0)
            view = np.ndarray(
                (count,), dtype=f"V{size_bytes}", buffer=self.data if count else b"", strides=(1,)
            )
            self._windows[size_bytes] = view
        return view

    def lengths_at(self, where: Positions) -> Positions:
        """Read the unsigned 32-bit lengths at positions, as int64, shape (n,).

        Positions behind the buffer read its last bytes instead: such a cursor has left its
        payload, which is found when cursors are compared with the payloads' ends.
        """
        np.minimum(where, len(self.data) - LENGTH_BYTES, out=where)
        lengths: NDArray[np.uint32] = self.window(LENGTH_BYTES)[where].view(np.uint32)
        if self.swap:
            lengths.byteswap(inplace=True)
        return lengths.astype(np.int64)

    def fixed(self, starts: Positions, size_bytes: int) -> NDArray[np.void]:
        """Copy `size_bytes` from each position: opaque, shape (n,), contiguous. One copy."""
        if len(starts) == 0:
            return np.empty(0, dtype=f"V{size_bytes}")
        return self.window(size_bytes)[starts]

    def is_same_at(self, starts: Positions, size_bytes: int) -> bool:
        """Tell whether the same bytes stand at all positions; all must lie inside.

        One copy, within the cache; none of what follows the first slab that differs.
        """
        rows = max(SLAB_BYTES // size_bytes, 1)
        for first in range(0, len(starts) - 1, rows):
            # One row of the next slab, so that each is compared with the one before it.
            found = self.fixed(starts[first : first + rows + 1], size_bytes).view(np.uint8)
            if (found[size_bytes:] != found[:-size_bytes]).any():
                return False
        return True

    def ragged(self, starts: Positions, lengths: Positions) -> pa.Buffer:
        """Copy `lengths[i]` bytes from `starts[i]`, one range behind the other. One copy.

        Ranges may overlap and come in any order. The way is chosen by size, as measured: equal
        lengths (joint positions) are fastest through `fixed`, but numpy keeps the interpreter lock
        for up to 500 of them, however long they are; long ranges (images, clouds) go through
        binary views, which allocate exactly and from Arrow's pool, whose pages are warm; short
        ones through Arrow's take.
        """
        total = int(lengths.sum())
        if total == 0:
            return pa.py_buffer(b"")
        shortest, longest = int(lengths.min()), int(lengths.max())
        if shortest == longest and (shortest < _LONG_RANGE_BYTES or total <= _LOCKED_BYTES_MAX):
            return pa.py_buffer(self.fixed(starts, shortest))
        if total >= _LONG_RANGE_BYTES * len(starts) and fit_views([self.data], lengths):
            owners = np.zeros(len(starts), dtype=np.int64)
            return copied_views([self.data], owners, starts, lengths)
        return _taken_ranges(self.data, starts, lengths)


def fit_views(buffers: Sequence[NDArray[np.uint8]], lengths: Positions) -> bool:
    """Tell whether ranges of these lengths, shape (n,), can be copied by `copied_views`."""
    return (
        len(lengths) > 0
        and int(lengths.sum()) <= ARROW_OFFSET_MAX
        and int(lengths.min()) > _INLINE_BYTES
        and max(len(buffer) for buffer in buffers) <= ARROW_OFFSET_MAX
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
