"""Which messages say the same as the one before: a sensor that hangs, a driver that repeats itself.

Stamp and `seq` of a leading header are left out of the comparison, since a driver that hangs still
counts. Most pairs are told apart by eight bytes at the place where the topic's messages differed
before; only where these are equal everything is compared, by Arrow, which stops at the first
difference.
"""

from dataclasses import dataclass
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
        self.compared[topics] += np.add.reduceat(follows, firsts, dtype=np.int64)
        bodies = _Bodies(data=block.data, starts=starts, ends=block.ends)
        owners = np.repeat(np.arange(len(rows)), rows)
        room = np.minimum.reduceat(bodies.ends - bodies.starts, firsts) - PROBE_BYTES

        def suspected() -> Numbers:
            probes = np.minimum(self._probes[topics], room)[owners]
            return np.flatnonzero(bodies.suspects(probes, int(room.min())) & follows)

        rows_left = suspected()
        if self._learn(bodies, rows_left, topics[owners[rows_left]]):
            rows_left = suspected()
        if len(rows_left):
            same = bodies.equal(rows_left)
            self.equal[topics] += np.bincount(owners[rows_left[same]], minlength=len(topics))
            different = rows_left[~same]
            self._learn(bodies, different, topics[owners[different]])

    def _learn(self, bodies: "_Bodies", chosen: Numbers, topics: Numbers) -> bool:
        """Remember where the first chosen message of each topic differs; tell whether one does.

        So most of the others are told apart without a comparison.
        """
        learned = False
        for topic, place in zip(*np.unique(topics, return_index=True), strict=True):
            at = bodies.difference(int(chosen[place]))
            if at is not None:
                self._probes[topic], learned = at, True
        return learned

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bodies:
    """What is compared of the messages of a block.

    Attributes:
        data: uint8: where they are.
        starts: int64, shape (n,).
        ends: int64, shape (n,).
    """

    data: NDArray[np.uint8]
    starts: Numbers
    ends: Numbers

    def suspects(self, probes: Numbers, room: int) -> NDArray[np.bool_]:
        """Tell which may be equal to the one before, but for the first.

        Args:
            probes: Where each is read; where there is no room, nowhere.
            room: The last place where all can be read; negative where some are too short.
        """
        lengths = self.ends - self.starts
        suspects = np.empty(len(lengths), dtype=np.bool_)
        np.equal(lengths[1:], lengths[:-1], out=suspects[1:])
        if room >= 0:
            words = words_of(self.data, "<u8")[self.starts + probes]
            suspects[1:] &= words[1:] == words[:-1]
        return suspects

    def equal(self, rows: Numbers) -> NDArray[np.bool_]:
        """Compare bodies whole with the one before each; nothing is copied if they lie in order."""
        if (self.starts[1:] < self.ends[:-1]).any():
            pairs = np.stack([rows - 1, rows], axis=1).reshape(-1)
            return self._side_by_side(pairs).equal(np.arange(1, len(pairs), 2))
        same = pc.equal(self._ranges(rows), self._ranges(rows - 1))
        return np.asarray(same.to_numpy(zero_copy_only=False)[::2], dtype=np.bool_)

    def _ranges(self, rows: Numbers) -> pa.LargeBinaryArray:
        """View bodies that lie in order as every second value, between those what lies between."""
        offsets = np.stack([self.starts[rows], self.ends[rows]], axis=1).reshape(-1)
        return pa.LargeBinaryArray.from_buffers(
            pa.large_binary(),
            max(len(offsets) - 1, 0),
            [None, pa.py_buffer(offsets), pa.py_buffer(self.data)],
        )

    def _side_by_side(self, rows: Numbers) -> "_Bodies":
        """Copy bodies, one behind the other."""
        lengths = (self.ends - self.starts)[rows]
        ends = np.cumsum(lengths)
        known, where = np.unique(rows, return_inverse=True)
        order = known[np.argsort(self.starts[known], kind="stable")]
        if (self.starts[order][1:] < self.ends[order][:-1]).any():
            # They share bytes, as only those of a damaged index do.
            parts = [self.data[self.starts[row] : self.ends[row]] for row in rows]
            return _Bodies(data=np.concatenate(parts), starts=ends - lengths, ends=ends)
        places = np.empty(len(known), dtype=np.int64)
        places[np.searchsorted(known, order)] = 2 * np.arange(len(known))
        copied = self._ranges(order).take(pa.array(places[where])).buffers()[2]
        data = np.frombuffer(copied, dtype=np.uint8) if copied else np.empty(0, dtype=np.uint8)
        return _Bodies(data=data, starts=ends - lengths, ends=ends)

    def difference(self, row: int) -> int | None:
        """Find where a body differs from the one before, which is as long; None for nowhere."""
        one, other = (self.data[self.starts[each] : self.ends[each]] for each in (row, row - 1))
        for first in range(0, len(one), SEARCH_BYTES):
            part = slice(first, first + SEARCH_BYTES)
            if len(found := np.flatnonzero(one[part] != other[part])):
                return first + int(found[0])
        return None


def _kept(body: memoryview) -> tuple[int, bytes]:
    if len(body) <= KEPT_BYTES_MAX:
        return len(body), bytes(body)
    last = len(body) - PIECE_BYTES
    starts = [last * piece // (PIECES - 1) for piece in range(PIECES)]
    return len(body), b"".join(body[start : start + PIECE_BYTES] for start in starts)


def words_of(data: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    """View a buffer as a number at every byte position; no copy."""
    size_bytes = np.dtype(dtype).itemsize
    return np.ndarray((len(data) - size_bytes + 1,), dtype=dtype, buffer=data, strides=(1,))
