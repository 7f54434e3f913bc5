"""Healthy MCAP files of every layout, real and made, against the `mcap` library."""

import itertools
import struct
import tracemalloc
from pathlib import Path

import pytest
from mcap.writer import CompressionType, IndexType, Writer

from bridge.bags.container import ReadLimits, ReadTally
from bridge.bags.mcap.reader import McapReader
from bridge.bags.source import FileSource
from bridge.errors import NotARecordingError, RecordingLimitError
from bridge.model import Serialization
from tests.bags.mcap import mcap_files as made
from tests.bags.mcap.mcap_files import REAL, SHARED, Seen

needs_shared = pytest.mark.skipif(not REAL, reason=f"no recordings in {SHARED}")

INDEXES = {
    "all": IndexType.ALL,
    "none": IndexType.NONE,
    "chunks only": IndexType.CHUNK,
    "messages only": IndexType.MESSAGE,
}
COMPRESSIONS = list(CompressionType)


@needs_shared
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_file_reads_as_with_the_library(path: Path) -> None:
    """A recorder's file gives the same messages per topic, in file order, as the library gives."""
    ours = made.read_with_ours(path)
    assert ours.healthy
    assert not ours.tally.losses
    assert made.same_per_topic(ours.messages, made.read_with_library(path))


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=lambda value: value.name)
@pytest.mark.parametrize("indexes", INDEXES.values(), ids=list(INDEXES))
@pytest.mark.parametrize(
    ("statistics", "repeat"), [(True, True), (False, True), (True, False), (False, False)]
)
@pytest.mark.parametrize("crcs", [True, False])
def test_every_layout_of_chunks_gives_all_messages(
    tmp_path: Path,
    compression: CompressionType,
    indexes: IndexType,
    *,
    statistics: bool,
    repeat: bool,
    crcs: bool,
) -> None:
    """Whatever a writer leaves out of index and summary, every message is read once."""
    path = tmp_path / "a.mcap"
    expected = made.sample()
    made.write_with_library(
        path,
        expected,
        compression=compression,
        index_types=indexes,
        use_statistics=statistics,
        repeat_channels=repeat,
        repeat_schemas=repeat,
        use_summary_offsets=False,
        enable_crcs=crcs,
    )
    ours = made.read_with_ours(path)
    assert made.same_per_topic(ours.messages, expected)
    assert ours.healthy
    unverified = 0 if crcs else len(expected)
    assert ours.tally == ReadTally(unverified_messages=unverified)


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("repeat", [True, False])
def test_unchunked_file_gives_all_messages_in_any_order(
    tmp_path: Path, *, statistics: bool, repeat: bool
) -> None:
    """Messages outside of chunks are read in file order, also where their times go backwards."""
    path = tmp_path / "a.mcap"
    expected = list(reversed(made.sample()))
    made.write_with_library(
        path,
        expected,
        use_chunking=False,
        use_statistics=statistics,
        repeat_channels=repeat,
        repeat_schemas=repeat,
    )
    ours = made.read_with_ours(path)
    assert made.same_per_topic(ours.messages, expected)
    assert ours.healthy
    assert not ours.tally.losses


def test_block_per_channel_and_chunk_shares_the_chunk(tmp_path: Path) -> None:
    """A chunk gives one block per channel in it, and all of them point into the same bytes."""
    path = tmp_path / "a.mcap"
    made.write_with_library(path, made.sample(60), chunk_size=1 << 20)
    with McapReader(FileSource(path), limits=ReadLimits()) as reader:
        blocks = list(reader.blocks())
    assert [reader.channels[block.channel].topic for block in blocks] == [
        "/topic0",
        "/topic1",
        "/topic2",
    ]
    assert len({block.data.__array_interface__["data"][0] for block in blocks}) == 1


def test_channels_are_known_with_counts_before_any_block(tmp_path: Path) -> None:
    """Topic, type, definition and count stand there at open; quality of service as recorded."""
    qos = "- history: 1\n  depth: 10"
    body = made.schema(1) + made.channel(
        7, 1, "/a", metadata={"offered_qos_profiles": qos, "topic_type_hash": "RIHS01_00"}
    )
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(body + made.message(7, 5), body + made.statistics({7: 1})))
    with McapReader(FileSource(path), limits=ReadLimits()) as reader:
        (found,) = reader.channels
    assert (found.topic, found.msgtype, found.message_count) == ("/a", "std_msgs/msg/String", 1)
    assert (found.qos, found.type_hash, found.obstacle) == (qos, "RIHS01_00", "")
    assert found.definition is not None
    assert found.definition.text == "string data\n"


@pytest.mark.parametrize(
    ("message_encoding", "schema_encoding", "serialization", "obstacle"),
    [
        ("cdr", "ros2msg", Serialization.CDR, ""),
        ("cdr", "ros2idl", Serialization.CDR, ""),
        (" CDR", "ROS2MSG ", Serialization.CDR, ""),
        ("", "ROS1msg", Serialization.ROS1, ""),
        ("cdr", "omgidl", Serialization.CDR, ""),
        ("ros1", "ros1msg", Serialization.ROS1, ""),
        ("cdr", "unknown", Serialization.CDR, ""),
        ("cdr", "", Serialization.CDR, ""),
        ("protobuf", "protobuf", Serialization.CDR, "message encoding 'protobuf' is not of ROS"),
        ("json", "jsonschema", Serialization.CDR, "message encoding 'json' is not of ROS"),
        ("cdr", "flatbuffer", Serialization.CDR, "schema encoding 'flatbuffer' is not of ROS"),
    ],
)
def test_encodings_are_told_apart(
    tmp_path: Path,
    message_encoding: str,
    schema_encoding: str,
    serialization: Serialization,
    obstacle: str,
) -> None:
    """ROS encodings become channels; foreign ones are counted as skipped and stop nothing else."""
    path = tmp_path / "a.mcap"
    path.write_bytes(
        made.finished(
            made.schema(1, "pkg/Name", schema_encoding, b"\xffint32 x")
            + made.channel(1, 1, "/a", message_encoding)
            + made.schema(2)
            + made.channel(2, 2, "/b")
            + made.message(1, 5)
            + made.message(2, 6)
        )
    )
    ours = made.read_with_ours(path)
    with McapReader(FileSource(path), limits=ReadLimits()) as reader:
        found = reader.channels[0]
    assert (found.serialization, found.obstacle) == (serialization, obstacle)
    assert found.msgtype == "pkg/msg/Name"
    assert (found.definition is None) == (bool(obstacle) or schema_encoding in {"", "unknown"})
    expected = ["/b"] if obstacle else ["/a", "/b"]
    assert sorted(message.topic for message in ours.messages) == expected
    assert ours.skipped == ({("/a", obstacle): 1} if obstacle else {})


def test_schemaless_and_schema_missing_are_obstacles(tmp_path: Path) -> None:
    """A channel without schema, and one whose schema is not in the file, are skipped by count."""
    path = tmp_path / "a.mcap"
    path.write_bytes(
        made.finished(
            made.channel(1, 0, "/none")
            + made.channel(2, 9, "/missing")
            + made.message(1, 5)
            + made.message(2, 5)
            + made.message(2, 6)
        )
    )
    ours = made.read_with_ours(path)
    assert ours.skipped == {
        ("/none", "the channel has no schema"): 1,
        ("/missing", "schema 9 is missing in the file"): 2,
    }


def test_times_at_the_edges_are_kept_or_counted(tmp_path: Path) -> None:
    """Zero, equal and the largest stamps are kept; from 2**63 on they are counted as skipped."""
    times = [0, 0, 1, 2**63 - 1, 2**63, 2**64 - 1]
    path = tmp_path / "a.mcap"
    records = made.schema(1) + made.channel(1, 1, "/a")
    records += b"".join(made.message(1, time, bytes([n])) for n, time in enumerate(times))
    path.write_bytes(made.finished(made.chunk(records, crc=None)))
    ours = made.read_with_ours(path)
    assert ours.messages == [Seen("/a", time, bytes([n])) for n, time in enumerate(times[:4])]
    assert ours.skipped == {("/a", "log_time_out_of_range"): 2}


def test_unknown_channel_ids_are_counted(tmp_path: Path) -> None:
    """Messages of an id that nobody declared are counted; the others arrive."""
    path = tmp_path / "a.mcap"
    records = made.schema(1) + made.channel(1, 1, "/a") + made.message(1, 5) + made.message(3, 6)
    path.write_bytes(made.finished(made.chunk(records)))
    ours = made.read_with_ours(path)
    assert [message.log_time for message in ours.messages] == [5]
    assert ours.skipped == {("", "unknown_channel"): 1}


def test_channel_id_declared_again_becomes_another_channel(tmp_path: Path) -> None:
    """Messages before and after an id changes its meaning go to their own topics."""
    path = tmp_path / "a.mcap"
    records = made.schema(1) + made.channel(1, 1, "/old") + made.message(1, 5)
    records += made.channel(1, 1, "/new") + made.message(1, 6) + made.message(1, 7)
    path.write_bytes(made.finished(made.chunk(records)))
    ours = made.read_with_ours(path)
    assert [(m.topic, m.log_time) for m in ours.messages] == [("/old", 5), ("/new", 6), ("/new", 7)]


def test_channel_id_declared_again_behind_the_summary_is_counted(tmp_path: Path) -> None:
    """A meaning that the summary does not know is never mistaken for the one it knows."""
    declared = made.schema(1) + made.channel(1, 1, "/old")
    body = declared + made.message(1, 5) + made.channel(1, 1, "/new") + made.message(1, 6)
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(body, declared + made.statistics({1: 2})))
    ours = made.read_with_ours(path)
    assert [(m.topic, m.log_time) for m in ours.messages] == [("/old", 5)]
    assert ours.skipped == {("", "redeclared_channel"): 1}


def test_unknown_ids_beside_a_foreign_channel_are_counted(tmp_path: Path) -> None:
    """A file whose only channel is foreign counts its messages and those of nobody."""
    path = tmp_path / "a.mcap"
    body = made.channel(1, 0, "/a", "json") + made.message(1, 5) + made.message(2, 6)
    path.write_bytes(made.finished(body))
    assert made.read_with_ours(path).skipped == {
        ("", "unknown_channel"): 1,
        ("/a", "message encoding 'json' is not of ROS"): 1,
    }


def test_schema_that_comes_after_its_channel_counts_for_that_channel(tmp_path: Path) -> None:
    """An id declared without schema, then with one that follows later, means two channels."""
    path = tmp_path / "a.mcap"
    body = made.channel(1, 0, "/a") + made.message(1, 5)
    body += made.channel(1, 3, "/a") + made.message(1, 6) + made.schema(3)
    path.write_bytes(made.finished(body))
    ours = made.read_with_ours(path)
    assert [message.log_time for message in ours.messages] == [6]
    assert ours.skipped == {("/a", "the channel has no schema"): 1}


def test_several_channels_on_one_topic_stay_apart(tmp_path: Path) -> None:
    """Two channels of one topic with different schemas are two channels here."""
    path = tmp_path / "a.mcap"
    records = made.schema(1) + made.schema(2, "std_msgs/msg/Int32", data=b"int32 data\n")
    records += made.channel(1, 1, "/a") + made.channel(2, 2, "/a")
    records += made.message(1, 5) + made.message(2, 6)
    path.write_bytes(made.finished(made.chunk(records)))
    with McapReader(FileSource(path), limits=ReadLimits()) as reader:
        assert [channel.msgtype for channel in reader.channels] == [
            "std_msgs/msg/String",
            "std_msgs/msg/Int32",
        ]
        assert len(list(reader.blocks())) == 2


def indexed(records: bytes, offsets: list[tuple[int, int]], *, listed: int = 1) -> bytes:
    """Make a file of one chunk with a message index, listed in the summary so many times."""
    body = made.chunk(records)
    start = len(made.MAGIC + made.header())
    index = made.message_index(1, offsets)
    entry = made.chunk_index(start, len(body), {1: start + len(body)}, len(index))
    summary = made.schema(1) + made.channel(1, 1, "/a") + entry * listed
    return made.finished(body + index, summary)


def test_chunk_listed_twice_is_read_once(tmp_path: Path) -> None:
    """A chunk index record that stands in the summary twice doubles nothing."""
    records = made.message(1, 5) + made.message(1, 6)
    path = tmp_path / "a.mcap"
    path.write_bytes(indexed(records, [(5, 0), (6, len(records) // 2)], listed=2))
    ours = made.read_with_ours(path)
    assert [message.log_time for message in ours.messages] == [5, 6]
    assert ours.healthy


LYING_INDEXES = {
    "misses one": [(5, 0)],
    "twice the same": [(5, 0), (5, 0), (6, 35)],
    "into a payload": [(5, 0), (6, 40)],
    "past the end": [(5, 0), (6, 10_000)],
    "beyond 2**63": [(5, 2**63 + 5), (6, 35)],
    "wrong times": [(99, 0), (98, 35)],
    "empty": [],
}


@pytest.mark.parametrize("offsets", LYING_INDEXES.values(), ids=list(LYING_INDEXES))
def test_lying_message_index_alters_nothing(tmp_path: Path, offsets: list[tuple[int, int]]) -> None:
    """The records decide: a message index that lies neither hides, doubles nor alters messages."""
    records = made.message(1, 5) + made.message(1, 6)
    path = tmp_path / "a.mcap"
    path.write_bytes(indexed(records, offsets))
    ours = made.read_with_ours(path)
    assert [message.log_time for message in ours.messages] == [5, 6]
    assert not ours.tally.losses


def test_messages_between_indexed_chunks_are_read(tmp_path: Path) -> None:
    """Messages, a chunk that no index lists, attachments and metadata between chunks are found."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    listed = made.chunk(declared + made.message(1, 5), compression="zstd", crc=None)
    named = struct.pack("<QQ", 1, 1) + made.text("map.pgm") + made.text("image/x")
    attachment = made.record(0x09, named + struct.pack("<Q", 3) + b"abc" + bytes(4))
    note = made.record(0x0C, made.text("vehicle") + made.text(made.text("id") + made.text("7")))
    start = len(made.MAGIC + made.header())
    first = made.message(1, 4)
    body = first + listed + made.message(1, 6) + attachment + note + made.chunk(made.message(1, 7))
    listing = made.chunk_index(start + len(first), len(listed), {}, 0)
    summary = declared + listing + made.statistics({1: 4})
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(body, summary))
    ours = made.read_with_ours(path)
    assert [message.log_time for message in ours.messages] == [4, 5, 6, 7]
    assert dict(ours.tally.extras) == {"attachments": 1, "metadata records": 1}
    assert not ours.tally.losses


def test_summary_that_does_not_vouch_for_all_channels_is_not_believed(tmp_path: Path) -> None:
    """Statistics that count messages of no channel leave the channels to a scan."""
    listed = made.schema(1) + made.channel(1, 1, "/a")
    body = listed + made.message(1, 5) + made.channel(2, 1, "/b") + made.message(2, 6)
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(body, listed + made.statistics({}, total=2)))
    assert [seen.topic for seen in made.read_with_ours(path).messages] == ["/a", "/b"]


@pytest.mark.parametrize("claimed", [0, 2])
def test_statistics_that_the_data_contradict_are_reported(tmp_path: Path, claimed: int) -> None:
    """The data count: every byte was understood, so that nothing can be missing."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    path = tmp_path / "a.mcap"
    path.write_bytes(
        made.finished(declared + made.message(1, 5), declared + made.statistics({1: claimed}))
    )
    ours = made.read_with_ours(path)
    assert (len(ours.messages), ours.healthy, ours.tally.losses) == (1, True, [])
    assert list(ours.tally.contradictions) == [
        f"the file counts {claimed} messages on /a, 1 were found"
    ]


def test_fewer_messages_than_claimed_are_a_loss_where_a_record_is_not_understood(
    tmp_path: Path,
) -> None:
    """A message whose opcode changed is a record that nobody knows."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    altered = made.record(0x85, made.message(1, 6)[9:])
    path = tmp_path / "a.mcap"
    path.write_bytes(
        made.finished(declared + made.message(1, 5) + altered, declared + made.statistics({1: 2}))
    )
    (loss,) = made.read_with_ours(path).tally.losses
    assert "2 messages on /a, 1 were found" in loss.reason


def test_metadata_and_attachments_are_told_at_open(tmp_path: Path) -> None:
    """Small metadata and the names of attachments are there before the first block."""
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="test")
        writer.add_metadata("vehicle", {"id": "7"})
        writer.add_attachment(1, 1, "map.pgm", "image/x", b"abc")
        writer.finish()  # type: ignore[no-untyped-call]
    with McapReader(FileSource(path), limits=ReadLimits()) as reader:
        assert dict(reader.metadata) == {
            "profile": "ros2",
            "library": "test",
            "metadata": {"vehicle": {"id": "7"}},
            "attachments": [{"name": "map.pgm", "media_type": "image/x", "size_bytes": 3}],
        }


def test_records_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    """A message of many windows between small ones, in a chunk or not, comes out whole."""
    big = bytes(range(256)) * 40_000
    expected = [Seen("/a", 1, b"x"), Seen("/a", 2, big), Seen("/a", 3, b"y" * 70_000)]
    for number, chunking in enumerate([True, False]):
        path = tmp_path / f"{number}.mcap"
        made.write_with_library(path, expected, use_chunking=chunking, use_statistics=False)
        assert made.read_with_ours(path).messages == expected


def test_empty_containers_have_no_channels(tmp_path: Path) -> None:
    """A file that was closed without messages is healthy and empty; one never closed is not."""
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(b""))
    assert made.read_with_ours(path).healthy
    path.write_bytes(made.MAGIC)
    ours = made.read_with_ours(path)
    assert (ours.messages, ours.healthy) == ([], False)


@pytest.mark.parametrize(
    "data", [b"x", b"hello " * 100, bytes(10_000), b"SQLite format 3\x00" + bytes(5000)]
)
def test_foreign_bytes_are_no_recording(tmp_path: Path, data: bytes) -> None:
    """A file with nothing of MCAP in it is refused by name."""
    path = tmp_path / "a.mcap"
    path.write_bytes(data)
    with pytest.raises(NotARecordingError) as caught:
        made.read_with_ours(path)
    assert caught.value.path == path


def test_limits_are_held(tmp_path: Path) -> None:
    """More channels than allowed are refused, longer payloads are counted, in and out of chunks."""
    path = tmp_path / "a.mcap"
    declared = made.schema(1) + b"".join(made.channel(n, 1, f"/{n}") for n in range(5))
    long, short = made.message(1, 5, bytes(100)), made.message(1, 6, bytes(10))
    path.write_bytes(made.finished(declared + long + short + made.chunk(long + short)))
    with pytest.raises(RecordingLimitError):
        made.read_with_ours(path, limits=ReadLimits(channels_max=4))
    ours = made.read_with_ours(path, limits=ReadLimits(message_bytes_max=50))
    assert [message.log_time for message in ours.messages] == [6, 6]
    assert sum(ours.tally.skipped.values()) == 2
    with pytest.raises(RecordingLimitError):
        made.read_with_ours(path, limits=ReadLimits(definition_bytes_max=5))


def test_judge_and_library_agree(tmp_path: Path) -> None:
    """The slow walk that judges damaged files finds what the library finds in whole ones."""
    path = tmp_path / "a.mcap"
    for compression, chunking in itertools.product(COMPRESSIONS, [True, False]):
        made.write_with_library(path, made.sample(), compression=compression, use_chunking=chunking)
        placed = [placed.seen for placed in made.place_messages(path.read_bytes())]
        assert placed == made.read_with_library(path)


def test_a_long_recording_of_many_channels_opens_in_little_memory(tmp_path: Path) -> None:
    """Its summary says of each chunk which channels are in it, which nobody needs by chunk."""
    chunks, channels, chunk_bytes = 4_000, 200, 1 << 16
    ids = range(1, channels + 1)
    path, first = tmp_path / "long.mcap", len(made.MAGIC)
    with path.open("wb") as file:
        file.write(made.MAGIC)
        file.seek(start := first + chunks * chunk_bytes)
        file.write(made.schema(1) + b"".join(made.channel(each, 1, f"/{each}") for each in ids))
        for number in range(chunks):
            at = first + number * chunk_bytes
            file.write(made.chunk_index(at, chunk_bytes, dict.fromkeys(ids, at), 0))
        file.write(made.statistics(dict.fromkeys(ids, chunks)))
        file.write(made.record(0x02, struct.pack("<QQI", start, 0, 0)) + made.MAGIC)
    tracemalloc.start()
    try:
        with McapReader(FileSource(path), limits=ReadLimits()) as reader:
            kept_bytes, _ = tracemalloc.get_traced_memory()
            counts = {channel.message_count for channel in reader.channels}
    finally:
        tracemalloc.stop()
    assert (len(reader.channels), counts) == (channels, {chunks})
    assert kept_bytes < 500 * chunks
