"""Which messages say the same as the one before: a sensor that hangs, a driver that repeats itself.

Stamp and `seq` of a leading header are left out of the comparison, since a driver that hangs still
counts. Most pairs are told apart by eight bytes at the place where the topic's messages differed
before; only where these are equal everything is compared, by Arrow, which stops at the first
difference.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.model import MessageBlock

Numbers = NDArray[np.int64]

PROBE_BYTES = 8
KEPT_BYTES_MAX = 64 << 10
"""Of the last message of a batch so much is kept, for the first of the next: a longer one is
compared there in so many places only, evenly spread."""


class Repeats:
    """Counts messages of each topic that equal the one before; owned by one thread.

    Args:
        topics: How many topics there are.
        bodies_at: int64, shape (topics,): bytes at the start of a message that do not count.

    Attributes:
        compared: int64, shape (topics,): how many messages had one before them.
        equal: int64, shape (topics,): how many of these were equal to it.
    """

    def __init__(self, topics: int, bodies_at: Numbers) -> None:
        self.compared = np.zeros(topics, dtype=np.int64)
        self.equal = np.zeros(topics, dtype=np.int64)
        self._bodies_at = bodies_at
        # Where in their bodies the messages of a topic differed last.
        self._probes = np.zeros(topics, dtype=np.int64)
        self._last: dict[int, tuple[int, bytes]] = {}

    def add(
        self, block: MessageBlock, topics: Numbers, rows: Numbers, chosen: Numbers | None = None
    ) -> None:
        """Compare messages with those before them.

        Cost: two reads per message, and one of everything that is equal; one copy of 64 KiB at
        most per topic.

        Args:
            block: The messages, those of a topic side by side and in file order.
            topics: int64, shape (k,): which topics they are of, each once.
            rows: int64, shape (k,): how many each has, at least one; n in total.
            chosen: Of a single topic, which of its rows but the first to compare; None for all.
        """
        firsts = np.cumsum(rows) - rows
        self._join(block, topics, firsts, firsts + rows - 1)
        starts, ends = block.starts, block.ends
        if chosen is None:
            self.compared[topics] += rows - 1
        else:
            self.compared[topics] += len(chosen)
            pairs = np.stack([chosen - 1, chosen], axis=1).reshape(-1)
            starts, ends = starts[pairs], ends[pairs]
            rows = np.array([len(pairs)])
        starts = starts + each_row(self._bodies_at[topics], rows)
        if (starts > ends).any():
            starts = np.minimum(starts, ends)
        suspects = self._suspects(block.data, starts, ends, topics, firsts, rows)
        suspects[firsts if chosen is None else slice(0, None, 2)] = False
        suspected = np.flatnonzero(suspects)
        if not len(suspected):
            return
        same = _equal(block.data, starts, ends, suspected)
        owners = np.searchsorted(firsts, suspected, side="right") - 1
        self.equal[topics] += np.bincount(owners[same], minlength=len(topics))
        different, where = np.unique(owners[~same], return_index=True)
        for segment, row in zip(map(int, different), suspected[~same][where], strict=True):
            self._probes[topics[segment]] = _first_difference(block.data, starts, ends, int(row))

    def forget(self, topic: int) -> None:
        """Start a topic over."""
        self.compared[topic] = self.equal[topic] = self._probes[topic] = 0
        self._last.pop(topic, None)

    def _suspects(
        self,
        data: NDArray[np.uint8],
        starts: Numbers,
        ends: Numbers,
        topics: Numbers,
        firsts: Numbers,
        rows: Numbers,
    ) -> NDArray[np.bool_]:
        """Tell which messages may be equal to the one before them in the block."""
        lengths = ends - starts
        suspects = np.empty(len(starts), dtype=np.bool_)
        np.equal(lengths[1:], lengths[:-1], out=suspects[1:])
        room = np.minimum.reduceat(lengths, firsts) - PROBE_BYTES
        if (room < 0).any():
            # Too short for a probe: compared whole, where the lengths are equal.
            return suspects
        probes = np.minimum(self._probes[topics], room)
        words = words_of(data, "<u8")[starts + each_row(probes, rows)]
        suspects[1:] &= words[1:] == words[:-1]
        return suspects

    def _join(self, block: MessageBlock, topics: Numbers, firsts: Numbers, lasts: Numbers) -> None:
        """Compare the first message of each topic with the last of the block before."""
        view, bodies_at = block.data.data, self._bodies_at[topics]
        starts, ends = block.starts, block.ends
        columns = (
            topics, starts[firsts] + bodies_at, ends[firsts], starts[lasts] + bodies_at, ends[lasts]
        )  # fmt: skip
        for topic, start, end, last_start, last_end in zip(
            *(map(int, column) for column in columns), strict=True
        ):
            before = self._last.get(topic)
            if before is not None:
                self.compared[topic] += 1
                self.equal[topic] += before == _kept(view[start:end])
            self._last[topic] = _kept(view[last_start:last_end])


def _kept(body: memoryview) -> tuple[int, bytes]:
    every = -(-len(body) // KEPT_BYTES_MAX) or 1
    return len(body), bytes(body[::every])


def _equal(
    data: NDArray[np.uint8], starts: Numbers, ends: Numbers, rows: Numbers
) -> NDArray[np.bool_]:
    """Compare messages with those before them in the block, whole.

    Both are columns of every second value of a column of ranges, those between them being what
    lies between the messages; so nothing is copied.
    """
    if (starts[1:] < ends[:-1]).any():
        # Not in order, or not apart: put side by side first.
        pairs = np.stack([rows - 1, rows], axis=1).reshape(-1)
        lengths = (ends - starts)[pairs]
        moved = np.cumsum(lengths) - lengths
        parts = [data[starts[row] : ends[row]] for row in pairs]
        return _equal(np.concatenate(parts), moved, moved + lengths, np.arange(1, len(pairs), 2))
    buffer = pa.py_buffer(data)

    def column(chosen: Numbers) -> pa.Array:
        offsets = np.stack([starts[chosen], ends[chosen]], axis=1).reshape(-1)
        count = len(offsets) - 1
        return pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), count, [None, pa.py_buffer(offsets), buffer]
        )

    same = pc.equal(column(rows), column(rows - 1))
    return np.asarray(same.to_numpy(zero_copy_only=False)[::2], dtype=np.bool_)


def _first_difference(data: NDArray[np.uint8], starts: Numbers, ends: Numbers, row: int) -> int:
    one, other = (data[starts[each] : ends[each]] for each in (row, row - 1))
    return int(np.flatnonzero(one != other)[0])


def each_row(values: NDArray[Any], rows: Numbers) -> NDArray[Any]:
    """Give each row the value of its topic: shape (n,), or (1,) where one topic has all rows."""
    return values if len(values) == 1 else np.repeat(values, rows)


def words_of(data: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    """View a buffer as a number at every byte position; no copy."""
    size_bytes = np.dtype(dtype).itemsize
    return np.ndarray((len(data) - size_bytes + 1,), dtype=dtype, buffer=data, strides=(1,))
