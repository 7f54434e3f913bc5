"""Reading scattered bytes of one buffer: fixed and ragged gathers over arrays of positions.

These are the only places where payload bytes are touched. Each costs one copy of the bytes asked
for and nothing per message in Python.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.layout import LENGTH_BYTES

Positions = NDArray[np.int64]
"""int64, shape (n,): absolute byte positions in the buffer."""

_PADDED_BYTES = 8


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

        Positions behind the buffer read its last bytes instead: whoever asked for them has left
        its payload, which is found when cursors are compared with the payloads' ends.
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

    def ragged(self, starts: Positions, lengths: Positions) -> pa.Buffer:
        """Copy `lengths[i]` bytes from `starts[i]`, one range behind the other. One copy.

        Ranges may overlap and come in any order. Equal lengths, the common case of frame names,
        images and scans, go through `fixed`; others through Arrow's take over offsets that run
        start, end, start, end.
        """
        count = len(starts)
        if count == 0:
            return pa.py_buffer(b"")
        size_bytes = int(lengths[0])
        if bool((lengths == size_bytes).all()):
            return pa.py_buffer(self.fixed(starts, size_bytes) if size_bytes else b"")
        offsets = np.empty(2 * count + 2, dtype=np.int64)
        offsets[0] = 0
        offsets[1:-1:2] = starts
        np.add(starts, lengths, out=offsets[2:-1:2])
        offsets[-1] = len(self.data)
        ranges = pa.Array.from_buffers(
            pa.large_binary(),
            2 * count + 1,
            [None, pa.py_buffer(offsets), pa.py_buffer(self.data)],
        )
        taken = ranges.take(pa.array(np.arange(1, 2 * count + 1, 2)))
        gathered: Any = taken.buffers()[2]
        return gathered
