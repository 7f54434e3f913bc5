"""Blocks in, fewer and bigger portions out: batching within one memory budget.

A topic with much in a block waits by itself, as it is. The block usually points into a decompressed
chunk that many topics share, and keeps that chunk alive. Once the chunks outgrow the budget, the
biggest topics are sent until half of it is free, and what still waits is copied together. So the
next time is half a budget away, and each byte is copied a few times at most.

Topics with little wait together and cost no Python code each: with hundreds of topics a chunk
holds a few messages of every one. They are copied out of it at once, into one buffer, in which they
are decoded later, where they lie. When there is too much, all but the smallest topics leave.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bridge.bags import chosen_messages, part_of
from bridge.cdr import copy_payloads, join_blocks, lie_together, merge_blocks
from bridge.ingest.options import BatchTargets
from bridge.model import MessageBlock, MixedBlock

ALONE = -1
"""The kind of topics that are not decoded together with others."""

ALONE_BYTES_MIN = 64 << 10
"""With this much in one block a topic waits by itself: its own Python code no longer shows."""

TOGETHER_SHARE = 2
"""What waits together is not copied again on its way, so it may be so many times the budget."""

LEFT_SHARE = 8
"""When those that wait together are sent, the smallest stay, up to one byte in so many."""

FIRST_ROOM_BYTES = 8 << 20
"""Of most recordings no more waits together."""

SPARE_ROOM_BYTES = 16 << 20
"""Room behind the bound for the block that goes beyond it."""

MOVED_BYTES = 1 << 20
"""About so much is copied at once when what is left is moved together."""

POSITION_BYTES = 4 + 8 + 4
"""What is kept of each message beside its payload."""

GONE = -1
"""The topic of messages that were taken and whose place was not used again yet."""

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Messages that are due, of one topic or of several of one kind.

    Attributes:
        block: All messages, those of one topic side by side; its `topic` is the first.
        topics: The topics, in order.
        rows: How many messages each has.
    """

    block: MessageBlock
    topics: Sequence[int]
    rows: Sequence[int]

    def by_topic(self) -> Iterator[MessageBlock]:
        """Yield the messages of each topic as a block of its own; nothing is copied."""
        first = 0
        for topic, rows in zip(self.topics, self.rows, strict=True):
            yield part_of(self.block, topic, slice(first, first + rows))
            first += rows


@dataclass(slots=True, kw_only=True)
class _Waiting:
    blocks: list[MessageBlock] = field(default_factory=list)
    payload_bytes: int = 0
    rows: int = 0


class Batcher:
    """Collects the blocks of all topics of one recording.

    Args:
        targets: Size of a batch and the common budget.
        kinds: int64, shape (topics,): topics of one kind may be decoded together; `ALONE` for
            those that may not.

    Attributes:
        payload_bytes: Bytes of all payloads that wait.
    """

    def __init__(self, targets: BatchTargets, *, kinds: Numbers) -> None:
        self._targets = targets
        self._kinds = kinds
        self._alone: dict[int, _Waiting] = {}
        self._together = _Together(kinds, bytes_max=TOGETHER_SHARE * targets.memory_budget_bytes)
        self._bytes_together: Numbers = np.zeros(len(kinds), dtype=np.int64)
        self._rows_together: Numbers = np.zeros(len(kinds), dtype=np.int64)
        self._begun = False
        # How many waiting blocks keep a buffer alive, by its identity.
        self._holders: Counter[int] = Counter()
        self._held_bytes = 0
        self.payload_bytes = 0

    @property
    def buffer_bytes(self) -> int:
        """Bytes of memory that what waits keeps, by how much of the budget it takes."""
        return self._held_bytes + self._together.buffer_bytes // TOGETHER_SHARE

    def add(self, block: MixedBlock) -> Iterator[Portion]:
        """Take a block and yield what is due to be sent, at most one batch over the targets."""
        if not self._begun and self.payload_bytes >= self._targets.begin_bytes:
            yield from self._begin()
        sizes = block.ends - block.starts
        count = len(self._kinds)
        rows = np.bincount(block.topics, minlength=count)
        sizes_bytes = np.bincount(block.topics, weights=sizes, minlength=count).astype(np.int64)
        alone = (sizes_bytes >= ALONE_BYTES_MIN) | (rows >= self._targets.max_batch_size_records)
        alone[list(self._alone)] = True
        # The messages of a topic stay in order: what waits together is not overtaken.
        alone &= (rows > 0) & (self._rows_together == 0)
        for topic in map(int, np.flatnonzero(alone)):
            first, behind = np.searchsorted(block.topics, [topic, topic + 1])
            yield from self._add_alone(part_of(block, topic, slice(int(first), int(behind))))
        yield from self._add_together(block, ~alone[block.topics], rows, sizes_bytes)
        if self.buffer_bytes > self._targets.memory_budget_bytes:
            yield from self._relieve()

    def flush(self) -> Iterator[Portion]:
        """Yield all that waits, each topic once."""
        for topic in sorted(self._alone):
            yield _single(self._take(topic))
        yield from self._take_together(self._rows_together > 0)

    def _add_alone(self, block: MessageBlock) -> Iterator[Portion]:
        waiting = self._alone.setdefault(block.topic, _Waiting())
        if (
            waiting.blocks
            and waiting.payload_bytes >= self._targets.max_batch_size_bytes // 2
            and waiting.blocks[-1].data is not block.data
            and lie_together(waiting.blocks)
        ):
            # What lies in one buffer needs no copy, and is nearly a batch.
            yield _single(self._take(block.topic))
            waiting = self._alone[block.topic] = _Waiting()
        payload_bytes = int((block.ends - block.starts).sum())
        waiting.blocks.append(block)
        waiting.payload_bytes += payload_bytes
        waiting.rows += len(block.starts)
        self.payload_bytes += payload_bytes
        self._hold(block.data)
        if (
            waiting.payload_bytes >= self._targets.max_batch_size_bytes
            or waiting.rows >= self._targets.max_batch_size_records
        ):
            yield _single(self._take(block.topic))

    def _add_together(
        self, block: MixedBlock, chosen: NDArray[np.bool_], rows: Numbers, sizes_bytes: Numbers
    ) -> Iterator[Portion]:
        if not chosen.any():
            return
        if not chosen.all():
            block = chosen_messages(block, chosen)
            rows = np.bincount(block.topics, minlength=len(rows))
            sizes_bytes = np.where(rows > 0, sizes_bytes, 0)
        self._together.add(block)
        self._rows_together += rows
        self._bytes_together += sizes_bytes
        self.payload_bytes += int(sizes_bytes.sum())
        full = (self._bytes_together >= self._targets.max_batch_size_bytes) | (
            self._rows_together >= self._targets.max_batch_size_records
        )
        if full.any():
            yield from self._take_together(full)

    def _take(self, topic: int) -> MessageBlock:
        self._begun = True
        waiting = self._alone.pop(topic)
        self.payload_bytes -= waiting.payload_bytes
        for block in waiting.blocks:
            self._let_go(block.data)
        return join_blocks(waiting.blocks)

    def _take_together(self, wanted: NDArray[np.bool_]) -> Iterator[Portion]:
        """Take topics out of those that wait together."""
        if not wanted.any():
            return
        self._begun = True
        taken = self._together.take(wanted)
        rows, sizes_bytes = self._rows_together[taken.topics], self._bytes_together[taken.topics]
        self.payload_bytes -= int(sizes_bytes.sum())
        self._bytes_together[wanted] = 0
        self._rows_together[wanted] = 0
        kinds = self._kinds[taken.topics]
        yield from _portions(taken, kinds, rows, sizes_bytes, self._targets.max_batch_size_bytes)

    def _begin(self) -> Iterator[Portion]:
        """Send the biggest topic."""
        alone = max(self._alone, key=self._alone_bytes, default=None)
        together = int(self._bytes_together.argmax())
        if alone is not None and self._alone_bytes(alone) >= self._bytes_together[together]:
            yield _single(self._take(alone))
        else:
            yield from self._take_together(np.arange(len(self._kinds)) == together)

    def _relieve(self) -> Iterator[Portion]:
        """Send the biggest topics, so that small ones still make few and big batches.

        Those that wait by themselves go until half of the budget is free. If that is not enough,
        those that wait together go, too.
        """
        bound_bytes = self._targets.memory_budget_bytes // 2
        waiting_bytes = self._together.buffer_bytes // TOGETHER_SHARE
        waiting_bytes += sum(map(self._alone_bytes, self._alone))
        for topic in sorted(self._alone, key=self._alone_bytes, reverse=True):
            if waiting_bytes <= bound_bytes:
                break
            waiting_bytes -= self._alone_bytes(topic)
            yield _single(self._take(topic))
        if waiting_bytes > bound_bytes:
            sizes_bytes = self._bytes_together
            by_size = np.argsort(-sizes_bytes, kind="stable")
            surplus_bytes = int(sizes_bytes.sum()) * (LEFT_SHARE - 1) // LEFT_SHARE
            enough = int(np.searchsorted(np.cumsum(sizes_bytes[by_size]), surplus_bytes)) + 1
            biggest = np.zeros(len(sizes_bytes), dtype=np.bool_)
            biggest[by_size[:enough]] = True
            yield from self._take_together(biggest & (self._rows_together > 0))
        self._compact()

    def _alone_bytes(self, topic: int) -> int:
        return self._alone[topic].payload_bytes

    def _compact(self) -> None:
        for waiting in self._alone.values():
            if len(waiting.blocks) > 1 or waiting.blocks[0].data.nbytes > waiting.payload_bytes:
                merged = merge_blocks(waiting.blocks)
                for block in waiting.blocks:
                    self._let_go(block.data)
                waiting.blocks = [merged]
                self._hold(merged.data)

    def _hold(self, data: NDArray[np.uint8]) -> None:
        if not self._holders[id(data)]:
            self._held_bytes += data.nbytes
        self._holders[id(data)] += 1

    def _let_go(self, data: NDArray[np.uint8]) -> None:
        self._holders[id(data)] -= 1
        if not self._holders[id(data)]:
            del self._holders[id(data)]
            self._held_bytes -= data.nbytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """Messages of some topics that are still where they waited.

    Attributes:
        topics: int64, shape (k,): the topics, those of a kind side by side.
        order: int64, shape (n,): the rows of their messages, topic by topic, each in order.
        times_ns: int64, by row.
        ends: int64, by row: behind its last byte.
        lengths: uint32, by row.
        data: What they lie in.
    """

    topics: Numbers
    order: Numbers
    times_ns: Numbers
    ends: Numbers
    lengths: NDArray[np.uint32]
    data: Bytes

    def block(self, topic: int, first: int, last: int) -> MessageBlock:
        """Give some of the messages in order, under the name of a topic; no payload is copied."""
        rows = self.order[first:last]
        ends = self.ends[rows]
        return MessageBlock(
            topic=topic,
            log_times_ns=self.times_ns[rows],
            data=self.data,
            starts=ends - self.lengths[rows],
            ends=ends,
        )


class _Together:
    """Messages of many topics that wait in one buffer, so that all are decoded where they lie.

    Args:
        kinds: As for `Batcher`.
        bytes_max: About how much `buffer_bytes` becomes.
    """

    def __init__(self, kinds: Numbers, *, bytes_max: int) -> None:
        # Topics of one kind are side by side in this order; numbers of two bytes are sorted fast.
        rank = np.argsort(np.argsort(kinds, kind="stable"), kind="stable")
        self._rank = rank.astype(np.uint16) if len(rank) <= 1 << 16 else rank
        self._bytes_max = bytes_max
        self._room: Bytes = np.empty(0, dtype=np.uint8)
        self._used_bytes = self._left_bytes = self._messages = 0
        # Of each message in the room, one behind the other: the topic, `GONE` once it was taken,
        # and what else tells where it lies and when it was recorded.
        self._topics: list[NDArray[np.int32]] = []
        self._times_ns: list[Numbers] = []
        self._lengths: list[NDArray[np.uint32]] = []

    @property
    def buffer_bytes(self) -> int:
        """Bytes that payloads, gaps where others have left, and positions take."""
        return self._used_bytes + self._messages * POSITION_BYTES if self._messages else 0

    def add(self, block: MixedBlock) -> None:
        """Copy the messages of a block, those of a topic side by side; it is not needed after."""
        lengths = block.ends - block.starts
        begin = self._make_room(int(lengths.sum()))
        copy_payloads(self._room[begin : self._used_bytes], block.data, block.starts, lengths)
        self._messages += len(lengths)
        self._topics.append(block.topics.astype(np.int32))
        self._times_ns.append(block.log_times_ns)
        self._lengths.append(lengths.astype(np.uint32))

    def take(self, wanted: NDArray[np.bool_]) -> _Taken:
        """Take all messages of some topics.

        Their payloads stay where they are for as long as somebody looks at them.
        """
        topics, times_ns, lengths = self._positions()
        # `GONE` picks what is appended.
        rows = np.flatnonzero(np.append(wanted, False)[topics])
        rows = rows[np.argsort(self._rank[topics[rows]], kind="stable")]
        chosen = np.flatnonzero(wanted)
        data = self._room[: self._used_bytes]
        data.flags.writeable = False
        topics[rows] = GONE
        self._messages -= len(rows)
        self._left_bytes -= int(lengths[rows].sum(dtype=np.int64))
        return _Taken(
            topics=chosen[np.argsort(self._rank[chosen])],
            order=rows,
            times_ns=times_ns,
            ends=np.cumsum(lengths, dtype=np.int64),
            lengths=lengths,
            data=data,
        )

    def _positions(self) -> tuple[NDArray[np.int32], Numbers, NDArray[np.uint32]]:
        """Give topics, times and lengths of what is in the room, an array of each."""
        self._topics = [np.concatenate(self._topics)]
        self._times_ns = [np.concatenate(self._times_ns)]
        self._lengths = [np.concatenate(self._lengths)]
        return self._topics[0], self._times_ns[0], self._lengths[0]

    def _make_room(self, size_bytes: int) -> int:
        """Make room for so much behind what is there, and tell where it begins."""
        if 2 * self._left_bytes < self._used_bytes:
            # Nothing but this object and the argument refers to it, unless somebody looks at it.
            unseen = sys.getrefcount(self._room) == 2  # noqa: PLR2004 - these two
            self._move_to(self._room if unseen else _new_room(len(self._room)))
        needed_bytes = self._used_bytes + size_bytes
        if needed_bytes > len(self._room):
            grown_bytes = max(needed_bytes, self._bytes_max + SPARE_ROOM_BYTES)
            small = needed_bytes <= FIRST_ROOM_BYTES
            self._move_to(_new_room(FIRST_ROOM_BYTES if small else grown_bytes))
        begin, self._used_bytes = self._used_bytes, self._used_bytes + size_bytes
        self._left_bytes += size_bytes
        return begin

    def _move_to(self, room: Bytes) -> None:
        """Move what waits to the start of a room, which may be the one that it is in."""
        behind = 0
        if self._topics:
            topics, times_ns, lengths = self._positions()
            left = topics != GONE
            starts = (np.cumsum(lengths, dtype=np.int64) - lengths)[left]
            lengths = lengths[left]
            ends = np.cumsum(lengths, dtype=np.int64)
            # In the order it lies in, so that nothing is overwritten that has not moved.
            cuts = np.searchsorted(ends, np.arange(0, self._left_bytes, MOVED_BYTES), side="right")
            for first, last in pairwise([*map(int, cuts), len(ends)]):
                moved = lengths[first:last].astype(np.int64)
                begin, behind = behind, behind + int(moved.sum())
                copy_payloads(room[begin:behind], self._room, starts[first:last], moved)
            self._topics, self._times_ns = [topics[left]], [times_ns[left]]
            self._lengths = [lengths]
        self._room, self._used_bytes = room, behind


def _new_room(size_bytes: int) -> Bytes:
    """Reserve memory, which takes none before it is written to."""
    return np.empty(size_bytes, dtype=np.uint8)


def _portions(
    taken: _Taken, kinds: Numbers, rows: Numbers, sizes_bytes: Numbers, bytes_max: int
) -> Iterator[Portion]:
    """Cut between topics where the kind changes, and where a portion would grow too big."""
    edges = np.append(0, np.cumsum(rows))
    behind = np.append(0, np.cumsum(sizes_bytes))
    begin = 0
    for last in range(1, len(taken.topics) + 1):
        if last < len(taken.topics):
            alike = kinds[last] != ALONE and kinds[last] == kinds[begin]
            if alike and behind[last + 1] - behind[begin] <= bytes_max:
                continue
        topics = [int(topic) for topic in taken.topics[begin:last]]
        yield Portion(
            block=taken.block(topics[0], int(edges[begin]), int(edges[last])),
            topics=topics,
            rows=[int(count) for count in rows[begin:last]],
        )
        begin = last


def _single(block: MessageBlock) -> Portion:
    return Portion(block=block, topics=[block.topic], rows=[len(block.starts)])
