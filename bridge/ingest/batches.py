"""Blocks in, fewer and bigger blocks out: batching within one memory budget.

A block usually points into a decompressed chunk that it shares with other topics. As long as it
waits here it keeps that chunk alive, so waiting blocks are copied together once the chunks behind
them outgrow the budget, and the biggest topics are sent early once the payloads themselves do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.cdr import merge_blocks
from bridge.ingest.options import BatchLimits
from bridge.model import MessageBlock


@dataclass(slots=True, kw_only=True)
class _Waiting:
    blocks: list[MessageBlock] = field(default_factory=list)
    payload_bytes: int = 0
    rows: int = 0


class Batcher:
    """Collects the blocks of all topics of one recording.

    Args:
        limits: Size of a batch and the common budget.

    Attributes:
        payload_bytes: Bytes of all payloads that wait.
        buffer_bytes: Bytes of the buffers that waiting blocks keep alive.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._topics: dict[int, _Waiting] = {}
        # Buffers that waiting blocks keep alive, by identity, with their sizes.
        self._buffers: dict[int, int] = {}
        self.buffer_bytes = 0
        self.payload_bytes = 0

    def add(self, block: MessageBlock) -> Iterator[MessageBlock]:
        """Take a block and yield what is due to be sent, at most one batch over the limits."""
        waiting = self._topics.setdefault(block.topic, _Waiting())
        payload_bytes = int((block.ends - block.starts).sum())
        waiting.blocks.append(block)
        waiting.payload_bytes += payload_bytes
        waiting.rows += len(block.starts)
        self.payload_bytes += payload_bytes
        if id(block.data) not in self._buffers:
            self._buffers[id(block.data)] = block.data.nbytes
            self.buffer_bytes += block.data.nbytes

        if (
            waiting.payload_bytes >= self._limits.batch_bytes_max
            or waiting.rows >= self._limits.batch_rows_max
        ):
            yield self._take(block.topic)
        if self.payload_bytes > self._limits.memory_budget_bytes:
            yield from self._send_biggest_early()
        if self.buffer_bytes > self._limits.memory_budget_bytes:
            self._compact()

    def flush(self) -> Iterator[MessageBlock]:
        """Yield all that waits, one block for each topic, in order of the topics."""
        for topic in sorted(self._topics):
            yield self._take(topic)

    def _take(self, topic: int) -> MessageBlock:
        waiting = self._topics.pop(topic)
        self.payload_bytes -= waiting.payload_bytes
        merged = waiting.blocks[0] if len(waiting.blocks) == 1 else merge_blocks(waiting.blocks)
        if not self._topics:
            self._buffers.clear()
            self.buffer_bytes = 0
        return merged

    def _send_biggest_early(self) -> Iterator[MessageBlock]:
        # Half of the budget, so that small topics still make few and big batches.
        by_size = sorted(self._topics, key=lambda topic: -self._topics[topic].payload_bytes)
        for topic in by_size:
            if self.payload_bytes <= self._limits.memory_budget_bytes // 2:
                return
            yield self._take(topic)

    def _compact(self) -> None:
        for waiting in self._topics.values():
            waiting.blocks = [merge_blocks(waiting.blocks)]
        self._buffers = {
            id(waiting.blocks[0].data): waiting.blocks[0].data.nbytes
            for waiting in self._topics.values()
        }
        self.buffer_bytes = sum(self._buffers.values())
