"""Healthy ROS 1 bags, real and made, against rosbags and a plain walk."""

import bz2
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Reader, Writer
from rosbags.typesys import Stores, get_typestore

from bridge.bags import load_recording
from bridge.bags.container import ReadLimits
from bridge.bags.endings import End, end_of
from bridge.bags.rosbag1.chunk import read_chunk
from bridge.bags.rosbag1.reader import open_rosbag1
from bridge.errors import (
    DamagedRecordingError,
    NotARecordingError,
    RecordingError,
    RecordingLimitError,
    RecordingVanishedError,
)
from bridge.model import Serialization
from tests.bags.mcap.mcap_files import by_topic
from tests.bags.rosbag1.rosbag1_files import (
    MAGIC,
    connection,
    header,
    judged,
    make,
    record,
    rosbag1_file,
    stamp,
)
from tests.bags.sqlite.sqlite_files import messages_of

JACKAL = Path(__file__).parents[4] / "shared" / "bags" / "jackal_imu_odom.bag"
LIMITS = ReadLimits()

Message = tuple[str, int, bytes]


def some(count: int, *, size_bytes: int = 20) -> list[Message]:
    """Messages that all differ, on two topics, one of them without a slash."""
    return [
        (
            ("/a", "b")[index % 2],
            1_700_000_000_000_000_000 + index * 10_000_001,
            index.to_bytes(4, "little") * (size_bytes // 4),
        )
        for index in range(count)
    ]


def by_rosbags(path: Path) -> list[Message]:
    with Reader(path) as reader:
        return [(c.topic, time, bytes(data)) for c, time, data in reader.messages()]


def test_bag_whose_last_bytes_are_still_to_come_has_no_end(tmp_path: Path) -> None:
    """A copy that stands still anywhere in the index section is not taken for whole."""
    path = tmp_path / "a.bag"
    content = make(some(20)).data
    path.write_bytes(content)
    index_at = int.from_bytes(content.split(b"index_pos=")[1][:8], "little")
    (file,) = load_recording(path).files
    assert end_of(file) is End.PROPER
    for size in range(index_at, len(content)):
        path.write_bytes(content[:size])
        assert end_of(file) is End.MISSING, size
    # What is no record there is wrong, and not cut off.
    path.write_bytes(content[:index_at] + b"\xff" * 100)
    assert end_of(file) is End.PROPER


@pytest.mark.skipif(not JACKAL.exists(), reason=f"no recording at {JACKAL}")
def test_real_bag_reads_as_rosbags_reads_it() -> None:
    """Every topic, definition and message of a robot's bag arrives as rosbags reads it."""
    with Reader(JACKAL) as judge:
        topics = [
            (c.topic, c.msgtype, c.msgdef.data, c.digest, c.msgcount) for c in judge.connections
        ]
    with open_rosbag1(rosbag1_file(JACKAL), limits=LIMITS) as reader:
        assert sorted(messages_of(reader)) == sorted(by_rosbags(JACKAL))
        assert [
            (c.topic, c.msgtype, c.definition.text, c.type_hash, c.message_count)
            for c in reader.channels
            if c.definition is not None
        ] == topics
        assert {c.serialization for c in reader.channels} == {Serialization.ROS1}
        assert [c.message_count for c in reader.channels] == [3061, 3060]
        assert reader.healthy
        assert not reader.tally.losses


@pytest.mark.parametrize("compression", [None, "bz2", "lz4"])
def test_bag_written_by_rosbags_is_read(tmp_path: Path, compression: str | None) -> None:
    """A bag of rosbags' writer reads as a plain walk over its records tells."""
    path = tmp_path / "a.bag"
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer(path)
    if compression:
        writer.set_compression(Writer.CompressionFormat[compression.upper()])
    with writer:
        latched = writer.add_connection("/map", "std_msgs/msg/String", typestore=store, latching=1)
        plain = writer.add_connection("chatter", "std_msgs/msg/String", typestore=store)
        for index in range(3000):
            writer.write((latched, plain)[index % 3 > 0], index * 7, bytes([index % 256]) * 500)

    with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
        assert messages_of(reader) != []
        assert [channel.qos for channel in reader.channels] == ["latching: true\n", ""]
        assert [channel.topic for channel in reader.channels] == ["/map", "chatter"]
        assert reader.healthy
    with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
        assert sorted(messages_of(reader)) == sorted(judged(path))


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
@pytest.mark.parametrize("chunk_index", [True, False])
@pytest.mark.parametrize("order", ["conn op time", "op conn time", "time conn op"])
def test_made_bag_reads_as_rosbags_reads_it(
    tmp_path: Path, compression: str, order: str, *, chunk_index: bool
) -> None:
    """Any compression and any order of fields reads the same, with index records or without."""
    path = tmp_path / "a.bag"
    made = make(some(105), compression=compression, chunk_index=chunk_index, order=order)
    path.write_bytes(made.data)

    with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
        found = messages_of(reader)
        assert sorted(found) == sorted(made.messages)
        assert reader.healthy
        assert [channel.message_count for channel in reader.channels] == [53, 52]
        assert not reader.tally.losses
    if chunk_index:
        assert sorted(found) == sorted(by_rosbags(path))


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_bag_of_a_killed_recorder_is_read(tmp_path: Path, compression: str) -> None:
    """Without index section topics and counts are learnt from the chunks themselves."""
    path = tmp_path / "a.bag"
    made = make(some(105), compression=compression, indexed=False)
    path.write_bytes(made.data)

    with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
        assert [channel.message_count for channel in reader.channels] == [53, 52]
        assert not reader.healthy
        assert sorted(messages_of(reader)) == sorted(made.messages)
        assert not reader.tally.losses
        assert reader.metadata["indexed"] is False


@pytest.mark.parametrize("indexed", [True, False])
def test_headers_written_in_many_ways_are_read(*, indexed: bool) -> None:
    """Messages whose headers differ in order and hold fields of their own are read all the same."""
    orders = ["conn op time", "op conn time", "time conn op", "time op conn", "op time conn"]
    data = bytearray(connection(0, "/a"))
    offsets = []
    for index in range(60):
        values = {"conn": bytes(4), "op": b"\x02", "time": stamp(index), "note": bytes([index])}
        offsets.append(len(data))
        names = [*orders[index % 5].split(), "note"]
        data += record({name: values[name] for name in names}, bytes([index]) * index)
    proposed = np.array(offsets if indexed else [], dtype=np.int64)

    chunk = read_chunk(bytes(data), proposed, path=Path("a.bag"))

    assert chunk.messages.times_ns.tolist() == list(range(60))
    assert not chunk.gaps
    assert [record.text("topic") for record in chunk.declared] == ["/a"]
    bounds = zip(chunk.messages.starts, chunk.messages.ends, strict=True)
    assert [bytes(data[start:end]) for start, end in bounds] == [
        bytes([index]) * index for index in range(60)
    ]


def test_blocks_share_the_chunk_they_point_into(tmp_path: Path) -> None:
    """Blocks are views of one decompressed chunk: no payload is copied."""
    path = tmp_path / "a.bag"
    path.write_bytes(make(some(100, size_bytes=4000), per_chunk=50).data)

    with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
        first, second, *others = list(reader.blocks())

    assert np.shares_memory(first.data, second.data)
    assert len(others) == 2


def test_limits_are_kept(tmp_path: Path) -> None:
    """Chunks and payloads over the limit are left out and told; too many topics are refused."""
    path = tmp_path / "a.bag"
    path.write_bytes(make([*some(20), ("/a", 5, bytes(5000))], compression="bz2").data)

    with open_rosbag1(rosbag1_file(path), limits=ReadLimits(message_bytes_max=4000)) as reader:
        assert len(messages_of(reader)) == 20
        assert by_topic(reader) == {("/a", "payload is over the size limit"): 1}
    with open_rosbag1(rosbag1_file(path), limits=ReadLimits(chunk_bytes_max=4000)) as reader:
        assert len(messages_of(reader)) == 20
        assert len(reader.tally.losses) == 1
        assert "over reading.chunk_bytes_max" in reader.tally.losses[0].reason
        assert not reader.healthy
    with pytest.raises(RecordingLimitError) as caught:
        open_rosbag1(rosbag1_file(path), limits=ReadLimits(channels_max=1))
    assert caught.value.path == path


def test_bomb_is_not_expanded(tmp_path: Path) -> None:
    """A chunk is never decompressed beyond what it claims, however much is in it."""
    path = tmp_path / "a.bag"
    made = make(some(20), per_chunk=20, compression="bz2").data
    head = {"op": b"\x05", "compression": b"bz2", "size": (100).to_bytes(4, "little")}
    path.write_bytes(made[:4109] + record(head, bz2.compress(bytes(200 << 20))) + made[4109:])

    with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
        found = messages_of(reader)

    assert sorted(found) == sorted(some(20))


def test_what_is_no_readable_bag_is_refused(tmp_path: Path) -> None:
    """Empty, foreign, old, encrypted and missing bags each end in the right error."""
    empty = {"op": b"\x03", "index_pos": bytes(8), "chunk_count": bytes(4), "conn_count": bytes(4)}
    cases = {
        b"": DamagedRecordingError,
        b"#ROSB": DamagedRecordingError,
        MAGIC: DamagedRecordingError,
        b"SQLite format 3\0": NotARecordingError,
        b"#ROSBAG V1.2\n" + bytes(100): NotARecordingError,
        b"#ROSRECORD V1.2\n" + bytes(100): NotARecordingError,
        MAGIC + record(empty, b""): DamagedRecordingError,
        MAGIC + record(empty | {"encryptor": b"rosbag/AesCbcEncryptor"}, b""): RecordingError,
    }
    for index, (content, kind) in enumerate(cases.items()):
        path = tmp_path / f"{index}.bag"
        path.write_bytes(content)
        with pytest.raises(RecordingError) as caught:
            open_rosbag1(rosbag1_file(path), limits=LIMITS)
        assert type(caught.value) is kind
        assert caught.value.path == path
    file = rosbag1_file(path)
    path.unlink()
    with pytest.raises(RecordingVanishedError):
        open_rosbag1(file, limits=LIMITS)


def test_empty_bag_that_was_closed_is_healthy(tmp_path: Path) -> None:
    """A bag in which nothing was recorded is whole."""
    path = tmp_path / "a.bag"
    path.write_bytes(make([]).data)

    with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
        assert messages_of(reader) == []
        assert reader.healthy
    assert header({}) == b""
