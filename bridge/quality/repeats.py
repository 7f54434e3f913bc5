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
PIECES, PIECE_BYTES = 32, 2 << 10
"""The last message of a batch is kept for the first of the next; of one that is longer than
`KEPT_BYTES_MAX` so many pieces of so many bytes, evenly spread. There only these are compared."""

SEARCH_BYTES = 16 << 10
"""Where two messages differ is looked for in so much at a time."""


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
        self, block: MessageBlock, topics: Numbers, rows: Numbers, follows: NDArray[np.bool_]
    ) -> None:
        """Compare messages with those before them.

        Cost: one read per message, and one of everything that is equal; one copy of 64 KiB at most
        per topic.

        Args:
            block: The messages, those of a topic side by side and in file order.
            topics: int64, shape (k,): which topics they are of, each once.
            rows: int64, shape (k,): how many each has, at least one; n in total. The first and the
                last of each are those of the topic since the last call.
            follows: bool, shape (n,): whether the one before in the block is the one before it in
                its topic.
        """
        firsts = np.cumsum(rows) - rows
        lasts = firsts + rows - 1
        starts = np.minimum(block.starts + np.repeat(self._bodies_at[topics], rows), block.ends)
        columns = (topics, starts[firsts], block.ends[firsts], starts[lasts], block.ends[lasts])
        for edge in zip(*(map(int, column) for column in columns), strict=True):
            self._join(block.data.data, *edge)
        lengths = block.ends - starts
        room = np.minimum.reduceat(lengths, firsts) - PROBE_BYTES
        probes = np.repeat(np.minimum(self._probes[topics], room), rows)
        suspects = _suspects(block.data, starts, lengths, probes, int(room.min()))
        suspects &= follows
        self.compared[topics] += np.add.reduceat(follows, firsts, dtype=np.int64)
        self._settle(block.data, starts, block.ends, suspects, topics, firsts)

    def _settle(
        self,
        data: NDArray[np.uint8],
        starts: Numbers,
        ends: Numbers,
        suspects: NDArray[np.bool_],
        topics: Numbers,
        firsts: Numbers,
    ) -> None:
        """Compare what may be equal to the one before it whole, and remember where it differs."""
        suspected = np.flatnonzero(suspects)
        if not len(suspected):
            return
        same = _equal(data, starts, ends, suspected)
        owners = np.searchsorted(firsts, suspected, side="right") - 1
        self.equal[topics] += np.bincount(owners[same], minlength=len(topics))
        different, where = np.unique(owners[~same], return_index=True)
        for segment, row in zip(map(int, different), suspected[~same][where], strict=True):
            self._probes[topics[segment]] = _first_difference(data, starts, ends, int(row))

    def forget(self, topic: int) -> None:
        """Start a topic over."""
        self.compared[topic] = self.equal[topic] = self._probes[topic] = 0
        self._last.pop(topic, None)

    def _join(
        self, data: memoryview, topic: int, start: int, end: int, last_start: int, last_end: int
    ) -> None:
        """Compare the first message of a topic with the last of the block before."""
        before = self._last.get(topic)
        if before is not None:
            self.compared[topic] += 1
            self.equal[topic] += before == _kept(data[start:end])
        self._last[topic] = _kept(data[last_start:last_end])


def _suspects(
    data: NDArray[np.uint8], starts: Numbers, lengths: Numbers, probes: Numbers, room: int
) -> NDArray[np.bool_]:
    """Tell which messages may be equal to the one before them in the block, but for the first.

    Args:
        data: uint8: where they are.
        starts: int64, shape (n,).
        lengths: int64, shape (n,).
        probes: Where each is read; where there is no room, nowhere.
        room: The last place where all can be read; negative where some are too short.
    """
    suspects = np.empty(len(starts), dtype=np.bool_)
    np.equal(lengths[1:], lengths[:-1], out=suspects[1:])
    if room >= 0:
        words = words_of(data, "<u8")[starts + probes]
        suspects[1:] &= words[1:] == words[:-1]
    return suspects


def _kept(body: memoryview) -> tuple[int, bytes]:
    if len(body) <= KEPT_BYTES_MAX:
        return len(body), bytes(body)
    last = len(body) - PIECE_BYTES
    starts = [last * piece // (PIECES - 1) for piece in range(PIECES)]
    return len(body), b"".join(body[start : start + PIECE_BYTES] for start in starts)


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
    for first in range(0, len(one), SEARCH_BYTES):
        part = slice(first, first + SEARCH_BYTES)
        if len(found := np.flatnonzero(one[part] != other[part])):
            return first + int(found[0])
    raise AssertionError("only messages that differ are asked about")


def words_of(data: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    """View a buffer as a number at every byte position; no copy."""
    size_bytes = np.dtype(dtype).itemsize
    return np.ndarray((len(data) - size_bytes + 1,), dtype=dtype, buffer=data, strides=(1,))
