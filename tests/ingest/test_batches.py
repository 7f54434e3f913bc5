"""Batching: nothing lost, nothing reordered within a topic, all bounds kept."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cdr import merge_blocks
from bridge.ingest import BatchTargets, batches
from bridge.ingest.batches import Batcher
from bridge.model import MessageBlock

LIMITS = BatchTargets(max_batch_size_bytes=400, max_batch_size_records=20, memory_budget_bytes=1000)


def chunk_blocks(chunk: list[tuple[int, bytes]], first_ns: int) -> list[MessageBlock]:
    """Lay messages out as a chunk and give one block for each topic, as a reader does."""
    data = np.frombuffer(b"".join(payload for _, payload in chunk) + b"gap", np.uint8)
    ends = np.cumsum([len(payload) for _, payload in chunk])
    blocks = []
    for topic in dict.fromkeys(topic for topic, _ in chunk):
        rows = [row for row, (owner, _) in enumerate(chunk) if owner == topic]
        blocks.append(
            MessageBlock(
                topic=topic,
                log_times_ns=np.array(rows, np.int64) + first_ns,
                data=data,
                starts=np.array([ends[row] - len(chunk[row][1]) for row in rows], np.int64),
                ends=np.array([ends[row] for row in rows], np.int64),
            )
        )
    return blocks


def messages(block: MessageBlock) -> list[tuple[int, bytes]]:
    return [
        (int(time), block.data[start:end].tobytes())
        for time, start, end in zip(block.log_times_ns, block.starts, block.ends, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=150)), min_size=1, max_size=12),
        max_size=25,
    )
)
def test_every_message_comes_out_once_in_order(chunks: list[list[tuple[int, bytes]]]) -> None:
    """Whatever the sizes, each topic's messages leave in the order they came, bytes unchanged."""
    batcher = Batcher(LIMITS)
    came: dict[int, list[tuple[int, bytes]]] = {}
    went: dict[int, list[tuple[int, bytes]]] = {}
    for number, chunk in enumerate(chunks):
        for block in chunk_blocks(chunk, number * 100):
            came.setdefault(block.topic, []).extend(messages(block))
            for due in batcher.add(block):
                went.setdefault(due.topic, []).extend(messages(due))
            assert (
                batcher.buffer_bytes
                <= LIMITS.memory_budget_bytes + sum(len(payload) for _, payload in chunk) + 3
            )
    for due in batcher.flush():
        went.setdefault(due.topic, []).extend(messages(due))

    assert went == came


def test_a_topic_leaves_when_its_batch_is_full() -> None:
    """A batch goes as soon as it has the rows or bytes wanted, and not before."""
    batcher = Batcher(LIMITS)
    sizes = []
    for number in range(30):
        for block in chunk_blocks([(0, b"x" * 100)], number):
            sizes += [len(due.starts) for due in batcher.add(block)]

    assert sizes == [4] * 7


def test_the_smallest_batches_are_single_blocks() -> None:
    """With batches of a byte every block is sent by itself, empty payloads too."""
    batcher = Batcher(BatchTargets(max_batch_size_bytes=1))
    left = []
    for number, payload in enumerate([b"a", b"", b"b"]):
        for block in chunk_blocks([(0, payload)], number):
            left += list(batcher.add(block))
    left += list(batcher.flush())

    assert [messages(due) for due in left] == [[(0, b"a")], [(1, b"")], [(2, b"b")]]


def test_what_lies_in_one_buffer_leaves_without_a_copy() -> None:
    """At the end of a buffer that holds most of a batch, as a buffer of plain chunks does."""
    batcher = Batcher(LIMITS)
    buffers = [np.zeros(1000, np.uint8) for _ in range(3)]
    left = []
    for number, data in enumerate(buffers):
        for row in range(3):
            block = MessageBlock(
                topic=0,
                log_times_ns=np.array([number * 10 + row]),
                data=data,
                starts=np.array([row * 200]),
                ends=np.array([row * 200 + 100]),
            )
            left += list(batcher.add(block))

    assert [due.log_times_ns.tolist() for due in left] == [[0, 1, 2], [10, 11, 12]]
    assert [due.starts.tolist() for due in left] == [[0, 200, 400]] * 2
    assert [due.data is data for due, data in zip(left, buffers, strict=False)] == [True, True]


def test_under_pressure_big_topics_leave_first() -> None:
    """Small topics go on collecting, so that they make few chunks on the platform."""
    limits = BatchTargets(
        max_batch_size_bytes=10_000, max_batch_size_records=1000, memory_budget_bytes=1000
    )
    batcher = Batcher(limits)
    left = []
    for number in range(40):
        for block in chunk_blocks([(0, b"big" * 30), (1, b"s")], number):
            left += [due.topic for due in batcher.add(block)]

    assert left
    assert set(left) == {0}


def test_many_topics_are_not_copied_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more topics than fit into the budget as batches, each byte is copied a few times."""
    copied = [0]

    def counting(blocks: Sequence[MessageBlock]) -> MessageBlock:
        copied[0] += sum(int((block.ends - block.starts).sum()) for block in blocks)
        return merge_blocks(blocks)

    monkeypatch.setattr(batches, "merge_blocks", counting)
    monkeypatch.setattr("bridge.cdr.blocks.merge_blocks", counting)
    batcher = Batcher(
        BatchTargets(
            max_batch_size_bytes=1 << 20, max_batch_size_records=10_000, memory_budget_bytes=20_000
        )
    )
    came = went = peak = 0
    for number in range(200):
        for block in chunk_blocks([(topic, b"x" * 10) for topic in range(100)], number):
            came += 1
            went += sum(len(due.starts) for due in batcher.add(block))
            peak = max(peak, batcher.buffer_bytes)
    went += sum(len(due.starts) for due in batcher.flush())

    assert went == came == 20_000
    assert copied[0] <= 4 * 10 * came
    assert peak <= 20_000 + 1_003
    assert (batcher.buffer_bytes, batcher.payload_bytes) == (0, 0)
