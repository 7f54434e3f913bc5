"""Batching: nothing lost, nothing reordered within a topic, all bounds kept."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import Writer as McapWriter
from numpy.typing import NDArray

from bridge.bags import load_recording, open_recording
from bridge.cdr import copy_payloads
from bridge.ingest import BatchTargets, Identity, IngestOptions, batches, dry_run
from bridge.ingest.batches import ALONE, Batcher, Portion
from bridge.model import MessageBlock, MixedBlock

TARGETS = BatchTargets(
    max_batch_size_bytes=400, max_batch_size_records=20, memory_budget_bytes=1000
)
KINDS = np.array([0, 1, 0, ALONE, 1])
Messages = dict[int, list[tuple[int, bytes]]]


def chunk_block(chunk: list[tuple[int, bytes]], first_ns: int) -> MixedBlock:
    """Lay messages out as a chunk, and give them as a reader does: topic by topic."""
    data = np.frombuffer(b"".join(payload for _, payload in chunk) + b"gap", np.uint8)
    lengths = np.array([len(payload) for _, payload in chunk], np.int64)
    ends = np.cumsum(lengths)
    topics = np.array([topic for topic, _ in chunk], np.int64)
    order = np.argsort(topics, kind="stable")
    return MixedBlock(
        topics=topics[order],
        log_times_ns=order + first_ns,
        data=data,
        starts=(ends - lengths)[order],
        ends=ends[order],
    )


def messages(block: MessageBlock) -> list[tuple[int, bytes]]:
    return [
        (int(time), block.data[start:end].tobytes())
        for time, start, end in zip(block.log_times_ns, block.starts, block.ends, strict=True)
    ]


def enter(went: Messages, portions: Iterator[Portion]) -> list[Portion]:
    entered = []
    for due in portions:
        entered.append(due)
        for block in due.by_topic():
            went.setdefault(block.topic, []).extend(messages(block))
    return entered


@settings(max_examples=120)
@given(
    chunks=st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=150)), min_size=1, max_size=12),
        max_size=25,
    ),
    alone_bytes_min=st.sampled_from([0, 100, 10_000]),
)
def test_every_message_comes_out_once_in_order(
    chunks: list[list[tuple[int, bytes]]], alone_bytes_min: int
) -> None:
    """Whatever the sizes, each topic's messages leave in the order they came, bytes unchanged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "ALONE_BYTES_MIN", alone_bytes_min)
        batcher = Batcher(TARGETS, kinds=KINDS)
        came: Messages = {}
        went: Messages = {}
        for number, chunk in enumerate(chunks):
            for row, (topic, payload) in enumerate(chunk):
                came.setdefault(topic, []).append((number * 100 + row, payload))
            for due in enter(went, batcher.add(chunk_block(chunk, number * 100))):
                assert len(due.topics) == 1 or len({int(KINDS[topic]) for topic in due.topics}) == 1
                assert len(due.topics) == 1 or ALONE not in KINDS[list(due.topics)]
                size_bytes = int((due.block.ends - due.block.starts).sum())
                assert len(due.topics) == 1 or size_bytes <= TARGETS.max_batch_size_bytes
            assert batcher.buffer_bytes <= TARGETS.memory_budget_bytes + 12 * 150 + 3
        ended = [topic for due in enter(went, batcher.flush()) for topic in due.topics]

    assert went == came
    assert len(ended) == len(set(ended))
    assert (batcher.buffer_bytes, batcher.payload_bytes) == (0, 0)


@pytest.mark.parametrize("alone_bytes_min", [0, 10_000])
def test_a_topic_leaves_when_its_batch_is_full(
    alone_bytes_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch goes as soon as it has the rows or bytes wanted, and not before."""
    monkeypatch.setattr(batches, "ALONE_BYTES_MIN", alone_bytes_min)
    batcher = Batcher(TARGETS, kinds=KINDS)
    sizes = []
    for number in range(30):
        sizes += [due.rows for due in batcher.add(chunk_block([(0, b"x" * 100)], number))]

    assert sizes == [[4]] * 7


def test_what_lies_in_one_buffer_leaves_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a buffer that holds most of a batch, as a buffer of plain chunks does."""
    monkeypatch.setattr(batches, "ALONE_BYTES_MIN", 100)
    batcher = Batcher(TARGETS, kinds=KINDS)
    buffers = [np.zeros(1000, np.uint8) for _ in range(3)]
    left: list[MessageBlock] = []
    for number, data in enumerate(buffers):
        for row in range(3):
            block = MixedBlock(
                topics=np.array([0]),
                log_times_ns=np.array([number * 10 + row]),
                data=data,
                starts=np.array([row * 200]),
                ends=np.array([row * 200 + 100]),
            )
            left += [due.block for due in batcher.add(block)]

    assert [due.log_times_ns.tolist() for due in left] == [[0, 1, 2], [10, 11, 12]]
    assert [due.starts.tolist() for due in left] == [[0, 200, 400]] * 2
    assert [due.data is data for due, data in zip(left, buffers, strict=False)] == [True, True]


@pytest.mark.parametrize("alone_bytes_min", [0, 50, 10_000])
def test_under_pressure_big_topics_leave_first(
    alone_bytes_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small topics go on collecting, so that they make few chunks on the platform."""
    monkeypatch.setattr(batches, "ALONE_BYTES_MIN", alone_bytes_min)
    targets = BatchTargets(
        max_batch_size_bytes=10_000, max_batch_size_records=1000, memory_budget_bytes=4000
    )
    batcher = Batcher(targets, kinds=KINDS)
    left = []
    for number in range(40):
        block = chunk_block([(0, b"big" * 100), (1, b"s")], number)
        left += [topic for due in batcher.add(block) for topic in due.topics]

    assert left
    assert set(left) == {0}


@pytest.mark.parametrize("alone_bytes_min", [0, 10_000])
def test_the_biggest_topic_begins_once_more_comes(
    alone_bytes_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform gets to know of the recording while the batches of the others fill.

    What is no longer than one block is sent in one piece, and later topics wait for their batches.
    """
    monkeypatch.setattr(batches, "ALONE_BYTES_MIN", alone_bytes_min)
    batcher = Batcher(replace(TARGETS, begin_bytes=100), kinds=KINDS)
    chunk = [(0, b"x" * 20), (1, b"x" * 80), (2, b"x" * 30)]
    left = [
        [topic for due in batcher.add(chunk_block(chunk, number)) for topic in due.topics]
        for number in range(3)
    ]

    assert left == [[], [1], []]
    assert sorted(topic for due in batcher.flush() for topic in due.topics) == [0, 1, 2]


def test_less_waits_where_several_threads_hold_what_they_compress() -> None:
    """One thread: as set. Several: a longer queue, and less in all."""
    targets = BatchTargets()
    several = targets.sent_by(8)

    assert targets.sent_by(1) == targets
    assert several.send_queue_bytes > targets.send_queue_bytes
    waiting = [each.memory_budget_bytes + each.send_queue_bytes for each in (several, targets)]
    assert waiting[0] <= 0.7 * waiting[1]


def test_many_topics_are_not_copied_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more topics than fit into the budget as batches, most bytes are copied once."""
    copied = [0]
    copy = copy_payloads

    def counting(room: NDArray[np.uint8], *arguments: Any) -> None:
        copied[0] += room.nbytes
        copy(room, *arguments)

    monkeypatch.setattr(batches, "copy_payloads", counting)
    targets = BatchTargets(
        max_batch_size_bytes=1 << 20, max_batch_size_records=10_000, memory_budget_bytes=200_000
    )
    batcher = Batcher(targets, kinds=np.zeros(100, np.int64))
    came = went = peak = portions = 0
    for number in range(200):
        came += 100
        for due in batcher.add(chunk_block([(t, b"x" * 100) for t in range(100)], number)):
            went, portions = went + len(due.block.starts), portions + 1
        peak = max(peak, batcher.buffer_bytes)
    went += sum(len(due.block.starts) for due in batcher.flush())

    assert went == came == 20_000
    assert copied[0] <= 1.3 * 100 * came
    assert portions <= 10, "topics of one kind leave together"
    assert peak <= 200_000 + 10_003
    assert (batcher.buffer_bytes, batcher.payload_bytes) == (0, 0)


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the buffers that are made for what waits together."""
    sizes: list[int] = []

    def noting(size_bytes: int) -> NDArray[np.uint8]:
        sizes.append(size_bytes)
        return np.empty(size_bytes, dtype=np.uint8)

    monkeypatch.setattr(batches, "_new_room", noting)
    monkeypatch.setattr(batches, "FIRST_ROOM_BYTES", 1000)
    monkeypatch.setattr(batches, "SPARE_ROOM_BYTES", 1000)
    return sizes


def test_the_buffer_of_many_topics_is_used_again(rooms: list[int]) -> None:
    """It grows once, and then what comes takes the place of what was sent."""
    batcher = Batcher(replace(TARGETS, memory_budget_bytes=4000), kinds=KINDS)
    came: Messages = {}
    went: Messages = {}
    for number in range(200):
        chunk = [(row % 4, bytes([number, row]) * 20) for row in range(10)]
        for row, (topic, payload) in enumerate(chunk):
            came.setdefault(topic, []).append((number * 10 + row, payload))
        enter(went, batcher.add(chunk_block(chunk, number * 10)))
    enter(went, batcher.flush())

    assert went == came
    assert rooms == [1000, 9000]


def test_what_somebody_looks_at_is_not_overwritten(rooms: list[int]) -> None:
    """Whoever keeps a portion keeps its messages; the batcher takes another buffer then."""
    batcher = Batcher(replace(TARGETS, memory_budget_bytes=4000), kinds=KINDS)
    kept: list[Portion] = []
    for number in range(200):
        chunk = [(row % 4, bytes([number, row]) * 20) for row in range(10)]
        kept += batcher.add(chunk_block(chunk, number * 10))
    kept += batcher.flush()

    went = [message for due in kept for block in due.by_topic() for message in messages(block)]
    assert sorted(went) == [
        (number * 10 + row, bytes([number, row]) * 20) for number in range(200) for row in range(10)
    ]
    assert len(rooms) > 5


def test_an_ingest_keeps_no_portion(rooms: list[int], tmp_path: Path) -> None:
    """So the buffer is used again there, too, however often it fills."""
    path = tmp_path / "many.mcap"
    with path.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=2000)
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/Int32", "ros2msg", b"int32 data")
        channels = [writer.register_channel(f"/{n}", "cdr", schema) for n in range(20)]
        for number in range(300):
            for channel in channels:
                data = b"\0\1\0\0" + number.to_bytes(4, "little")
                writer.add_message(channel, log_time=number, publish_time=number, data=data)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say what it returns
    options = IngestOptions(
        identity=Identity(instance="test"),
        batches=BatchTargets(memory_budget_bytes=8_000, begin_bytes=100),
    )
    with open_recording(load_recording(path)) as reader:
        _, found = dry_run(reader, options)

    assert sum(found.values()) == 20 * 300
    assert rooms == [1000, 17_000]


def test_messages_without_bytes_wait_with_the_others(rooms: list[int]) -> None:
    """An empty message of ROS 1 has none; when others are moved it stays where it can be read."""
    batcher = Batcher(replace(TARGETS, max_batch_size_records=1000), kinds=np.zeros(2, np.int64))
    went: Messages = {}

    def take(portions: Iterator[Portion]) -> None:
        for due in enter(went, portions):
            assert (due.block.ends <= len(due.block.data)).all()

    for number in range(50):
        take(batcher.add(chunk_block([(0, b"x" * 100), (1, b"")], number * 2)))
    take(batcher.flush())

    assert went[0] == [(number * 2, b"x" * 100) for number in range(50)]
    assert went[1] == [(number * 2 + 1, b"") for number in range(50)]
    assert rooms == [1000]
