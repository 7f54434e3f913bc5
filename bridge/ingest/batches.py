"""Blocks in, fewer and bigger blocks out: batching within one memory budget.

A block usually points into a decompressed chunk that it shares with other topics. As long as it
waits here it keeps that chunk alive. Once the chunks outgrow the budget, the biggest topics are
sent until half of it is free, and what still waits is copied together. So the next time is half a
budget away, and however many topics there are, each byte is copied a few times at most.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.cdr import join_blocks, lie_together, merge_blocks
from bridge.ingest.options import BatchTargets
from bridge.model import MessageBlock


@dataclass(slots=True, kw_only=True)
class _Waiting:
    blocks: list[MessageBlock] = field(default_factory=list)
    payload_bytes: int = 0
    rows: int = 0


class Batcher:
    """Collects the blocks of all topics of one recording.

    Args:
        targets: Size of a batch and the common budget.

    Attributes:
        payload_bytes: Bytes of all payloads that wait.
        buffer_bytes: Bytes of the buffers that waiting blocks keep alive.
    """

    def __init__(self, targets: BatchTargets) -> None:
        self._targets = targets
        self._topics: dict[int, _Waiting] = {}
        # How many waiting blocks keep a buffer alive, by its identity.
        self._holders: Counter[int] = Counter()
        self.buffer_bytes = 0
        self.payload_bytes = 0

    def add(self, block: MessageBlock) -> Iterator[MessageBlock]:
        """Take a block and yield what is due to be sent, at most one batch over the limits."""
        waiting = self._topics.setdefault(block.topic, _Waiting())
        if (
            waiting.blocks
            and waiting.payload_bytes >= self._targets.max_batch_size_bytes // 2
            and waiting.blocks[-1].data is not block.data
            and lie_together(waiting.blocks)
        ):
            # What lies in one buffer needs no copy, and is nearly a batch.
            yield self._take(block.topic)
            waiting = self._topics[block.topic] = _Waiting()
        payload_bytes = int((block.ends - block.starts).sum())
        waiting.blocks.append(block)
        waiting.payload_bytes += payload_bytes
        waiting.rows += len(block.starts)
        self.payload_bytes += payload_bytes
        self._hold(block)

        if (
            waiting.payload_bytes >= self._targets.max_batch_size_bytes
            or waiting.rows >= self._targets.max_batch_size_records
        ):
            yield self._take(block.topic)
        if self.buffer_bytes > self._targets.memory_budget_bytes:
            yield from self._send_biggest_early()
            self._compact()

    def flush(self) -> Iterator[MessageBlock]:
        """Yield all that waits, one block for each topic, in order of the topics."""
        for topic in sorted(self._topics):
            yield self._take(topic)

    def _take(self, topic: int) -> MessageBlock:
        waiting = self._topics.pop(topic)
        self.payload_bytes -= waiting.payload_bytes
        self._let_go(waiting.blocks)
        return join_blocks(waiting.blocks)

    def _send_biggest_early(self) -> Iterator[MessageBlock]:
        # Half of the budget, so that small topics still make few and big batches.
        by_size = sorted(self._topics, key=lambda topic: -self._topics[topic].payload_bytes)
        for topic in by_size:
            if self.payload_bytes <= self._targets.memory_budget_bytes // 2:
                return
            yield self._take(topic)

    def _compact(self) -> None:
        for waiting in self._topics.values():
            if len(waiting.blocks) > 1 or waiting.blocks[0].data.nbytes > waiting.payload_bytes:
                merged = merge_blocks(waiting.blocks)
                self._let_go(waiting.blocks)
                waiting.blocks = [merged]
                self._hold(merged)

    def _hold(self, block: MessageBlock) -> None:
        if not self._holders[id(block.data)]:
            self.buffer_bytes += block.data.nbytes
        self._holders[id(block.data)] += 1

    def _let_go(self, blocks: list[MessageBlock]) -> None:
        for block in blocks:
            self._holders[id(block.data)] -= 1
            if not self._holders[id(block.data)]:
                del self._holders[id(block.data)]
                self.buffer_bytes -= block.data.nbytes
