"""Blocks in, fewer and bigger portions out: batching within one memory budget.

A block usually points into a decompressed chunk that many topics share. As long as a part of it
waits here it keeps that chunk alive. Once the chunks outgrow the budget, the biggest topics are
sent until half of it is free, and what still waits is copied together. So the next time is half a
budget away, and however many topics there are, each byte is copied a few times at most.

A topic with much in a block waits by itself, as it is. Those with little wait together and
cost no Python code each: with hundreds of topics a chunk holds a few messages of every one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bridge.bags import chosen_messages, part_of
from bridge.cdr import gather_payloads, join_blocks, lie_together, merge_blocks
from bridge.ingest.options import BatchTargets
from bridge.model import MessageBlock, MixedBlock

ALONE = -1
"""The kind of topics that are not decoded together with others."""

ALONE_BYTES_MIN = 64 << 10
"""With this much in one block a topic waits by itself: its own Python code no longer shows."""

COMPACTED_BYTES = 8 << 20
"""About so much of what waits together is copied at once, so that little memory holds it twice."""

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
        buffer_bytes: Bytes of the buffers that waiting blocks keep alive.
    """

    def __init__(self, targets: BatchTargets, *, kinds: Numbers) -> None:
        self._targets = targets
        self._kinds = kinds
        # Topics of one kind are side by side in this order.
        self._rank = np.argsort(np.argsort(kinds, kind="stable"), kind="stable")
        self._alone: dict[int, _Waiting] = {}
        self._together: list[MixedBlock] = []
        self._bytes_together: Numbers = np.zeros(len(kinds), dtype=np.int64)
        self._rows_together: Numbers = np.zeros(len(kinds), dtype=np.int64)
        self._begun = False
        # How many waiting blocks keep a buffer alive, by its identity.
        self._holders: Counter[int] = Counter()
        self.buffer_bytes = 0
        self.payload_bytes = 0

    def add(self, block: MixedBlock) -> Iterator[Portion]:
        """Take a block and yield what is due to be sent, at most one batch over the targets."""
        if not self._begun and self.payload_bytes >= self._targets.begin_bytes:
            yield from self._send_biggest(1)
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
            # Half of the budget, so that small topics still make few and big batches.
            budget_bytes = self._targets.memory_budget_bytes
            yield from self._send_biggest(self.payload_bytes - budget_bytes // 2)
            self._compact()

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
        self._together.append(block)
        self._rows_together += rows
        self._bytes_together += sizes_bytes
        self.payload_bytes += int(sizes_bytes.sum())
        self._hold(block.data)
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
        """Take topics out of those that wait together; portions are copied one after the other."""
        self._begun = self._begun or bool(wanted.any())
        pieces, kept = [], []
        for piece in self._together:
            mask = wanted[piece.topics]
            if mask.any():
                pieces.append(piece if mask.all() else chosen_messages(piece, mask))
            if mask.all():
                self._let_go(piece.data)
            else:
                kept.append(chosen_messages(piece, ~mask) if mask.any() else piece)
        self._together = kept
        self.payload_bytes -= int(self._bytes_together[wanted].sum())
        self._bytes_together[wanted] = 0
        self._rows_together[wanted] = 0
        if pieces:
            rows = _Rows(pieces, self._rank)
            for bounds in rows.portions(self._kinds, self._targets.max_batch_size_bytes):
                yield rows.portion(bounds)

    def _send_biggest(self, surplus_bytes: int) -> Iterator[Portion]:
        if surplus_bytes <= 0:
            return
        sizes_bytes = self._bytes_together.copy()
        for topic, waiting in self._alone.items():
            sizes_bytes[topic] = waiting.payload_bytes
        by_size = np.argsort(-sizes_bytes, kind="stable")
        enough = int(np.searchsorted(np.cumsum(sizes_bytes[by_size]), surplus_bytes)) + 1
        biggest = by_size[:enough]
        for topic in map(int, biggest):
            if topic in self._alone:
                yield _single(self._take(topic))
        chosen = np.zeros(len(sizes_bytes), dtype=np.bool_)
        chosen[biggest] = True
        yield from self._take_together(chosen & (self._rows_together > 0))

    def _compact(self) -> None:
        for waiting in self._alone.values():
            if len(waiting.blocks) > 1 or waiting.blocks[0].data.nbytes > waiting.payload_bytes:
                merged = merge_blocks(waiting.blocks)
                for block in waiting.blocks:
                    self._let_go(block.data)
                waiting.blocks = [merged]
                self._hold(merged.data)
        pieces, self._together = self._together, []
        for group in _grouped(pieces, COMPACTED_BYTES):
            together = _Rows(group, self._rank).merged()
            for piece in group:
                self._let_go(piece.data)
            self._together.append(together)
            self._hold(together.data)

    def _hold(self, data: NDArray[np.uint8]) -> None:
        if not self._holders[id(data)]:
            self.buffer_bytes += data.nbytes
        self._holders[id(data)] += 1

    def _let_go(self, data: NDArray[np.uint8]) -> None:
        self._holders[id(data)] -= 1
        if not self._holders[id(data)]:
            del self._holders[id(data)]
            self.buffer_bytes -= data.nbytes


class _Rows:
    """The messages of several blocks, sorted so that kinds, and in them topics, are side by side.

    Within a topic they stay in order. Cost: a stable sort, no copy of payloads before `portion`.
    """

    def __init__(self, pieces: Sequence[MixedBlock], rank: Numbers) -> None:
        self._buffers = [piece.data for piece in pieces]
        topics = np.concatenate([piece.topics for piece in pieces])
        order = np.argsort(rank[topics], kind="stable")
        owners = np.repeat(np.arange(len(pieces)), [len(piece.topics) for piece in pieces])
        self._topics, self._owners = topics[order], owners[order]
        self._times_ns = np.concatenate([piece.log_times_ns for piece in pieces])[order]
        self._starts = np.concatenate([piece.starts for piece in pieces])[order]
        ends = np.concatenate([piece.ends for piece in pieces])[order]
        self._lengths = ends - self._starts

    def portions(self, kinds: Numbers, bytes_max: int) -> list[slice]:
        """Cut between topics where the kind changes, and where a portion would grow too big."""
        edges = np.flatnonzero(np.diff(self._topics, prepend=-1, append=-1))
        behind = np.concatenate([[0], np.cumsum(self._lengths)])
        cuts = [0]
        for first, last in pairwise(map(int, edges)):
            if first == cuts[-1]:
                continue
            kind, before = int(kinds[self._topics[first]]), int(kinds[self._topics[first - 1]])
            size_bytes = int(behind[last] - behind[cuts[-1]])
            if kind == ALONE or kind != before or size_bytes > bytes_max:
                cuts.append(first)
        cuts.append(len(self._topics))
        return [slice(*pair) for pair in pairwise(cuts)]

    def portion(self, bounds: slice) -> Portion:
        """Copy the payloads of some rows side by side."""
        topics = self._topics[bounds]
        edges = np.flatnonzero(np.diff(topics, prepend=-1, append=-1))
        data, starts, ends = self._gathered(bounds)
        return Portion(
            block=MessageBlock(
                topic=int(topics[0]),
                log_times_ns=self._times_ns[bounds],
                data=data,
                starts=starts,
                ends=ends,
            ),
            topics=[int(topic) for topic in topics[edges[:-1]]],
            rows=[int(rows) for rows in np.diff(edges)],
        )

    def merged(self) -> MixedBlock:
        """Copy all payloads into one new block, topics ascending."""
        order = np.argsort(self._topics, kind="stable")
        data, starts, ends = self._gathered(slice(None))
        return MixedBlock(
            topics=self._topics[order],
            log_times_ns=self._times_ns[order],
            data=data,
            starts=starts[order],
            ends=ends[order],
        )

    def _gathered(self, bounds: slice) -> tuple[NDArray[np.uint8], Numbers, Numbers]:
        lengths = self._lengths[bounds]
        data = gather_payloads(self._buffers, self._owners[bounds], self._starts[bounds], lengths)
        ends = np.cumsum(lengths)
        return data, ends - lengths, ends


def _grouped(pieces: list[MixedBlock], bytes_min: int) -> Iterator[list[MixedBlock]]:
    """Take pieces off a list, in its order, in runs of at least so many bytes, and the rest.

    What was taken is held by nobody but the caller, who lets go of a run before the next.
    """
    pieces.reverse()
    group: list[MixedBlock] = []
    size_bytes = 0
    while pieces:
        group.append(pieces.pop())
        size_bytes += int((group[-1].ends - group[-1].starts).sum())
        if size_bytes >= bytes_min or not pieces:
            yield group
            group, size_bytes = [], 0


def _single(block: MessageBlock) -> Portion:
    return Portion(block=block, topics=[block.topic], rows=[len(block.starts)])
