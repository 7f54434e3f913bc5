"""Healthy sqlite3 files of every version, real and made, against rosbags and plain SQL."""

import os
import sqlite3
from pathlib import Path

import psutil  # type: ignore[import-untyped] # ships no types
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from bridge.bags.container import ReadLimits
from bridge.bags.sqlite.reader import open_sqlite3
from bridge.bags.sqlite.rows import RowContents, SeenRows
from bridge.bags.sqlite.schema import read_schema
from bridge.errors import (
    DamagedRecordingError,
    NotARecordingError,
    RecordingLimitError,
    RecordingVanishedError,
)
from bridge.files import HeldFiles
from bridge.model import Serialization
from tests.bags.mcap.mcap_files import by_topic
from tests.bags.sqlite.sqlite_files import (
    create,
    insert,
    judged,
    messages_of,
    payloads,
    sqlite_file,
)

SHARED = Path(__file__).parents[4] / "shared" / "bags"
REAL = sorted(SHARED.glob("*/*.db3"))
LIMITS = ReadLimits()

needs_shared = pytest.mark.skipif(not REAL, reason=f"no recordings in {SHARED}")


@pytest.fixture
def db3(tmp_path: Path) -> Path:
    path = tmp_path / "bag_0.db3"
    connection = sqlite3.connect(path)
    create(connection, 4, ["/a", "/b"])
    insert(connection, payloads(1000))
    connection.commit()
    connection.close()
    return path


@needs_shared
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.parent.name + path.stem)
def test_real_file_reads_as_rosbags_reads_it(path: Path) -> None:
    """Every topic and message of a real file arrives as rosbags reads it from the same file."""
    judge = Reader(path)
    judge.open()
    expected = sorted((connection.topic, time, data) for connection, time, data in judge.messages())
    topics = [(c.topic, c.msgtype, c.msgdef.data, c.digest) for c in judge.connections]
    judge.close()

    with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
        assert sorted(messages_of(reader)) == expected
        assert [
            (c.topic, c.msgtype, c.definition.text if c.definition else "", c.type_hash)
            for c in reader.channels
        ] == topics
        assert reader.healthy
        assert not reader.tally.skipped
        assert not reader.tally.losses


@needs_shared
def test_real_files_hold_what_their_readme_says() -> None:
    """The counts of the recordings' own description come out."""
    counts: dict[str, int] = {}
    for path in REAL:
        with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
            counts[path.parent.name] = counts.get(path.parent.name, 0) + len(messages_of(reader))

    assert counts["wbag_sqlite3"] == 6074
    assert counts["tf_example"] == 518
    assert counts["empty_bag"] == 0
    assert counts["cdr_test_sqlite3"] == 7


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_every_version_is_read(tmp_path: Path, version: int) -> None:
    """A file of any layout version gives its messages and whatever its tables tell."""
    path = tmp_path / "bag_0.db3"
    connection = sqlite3.connect(path)
    create(connection, version, ["/a", "/b"])
    insert(connection, payloads(100))
    connection.commit()
    connection.close()

    with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
        assert sorted(messages_of(reader)) == sorted(judged(path))
        assert reader.metadata["schema_version"] == version
        assert reader.metadata["ros_distro"] == {3: "humble", 4: "jazzy"}.get(version, "")
        assert [channel.qos for channel in reader.channels] == ["qos" if version > 1 else ""] * 2
        assert {channel.serialization for channel in reader.channels} == {Serialization.CDR}
        assert [channel.definition is not None for channel in reader.channels] == [version == 4] * 2
        assert {channel.type_hash for channel in reader.channels} == (
            {"RIHS01_00"} if version == 4 else {""}
        )


def test_blocks_stay_small_whatever_the_messages(tmp_path: Path) -> None:
    """Large and small messages mixed give blocks of a few MiB, and every message once."""
    path = tmp_path / "bag_0.db3"
    connection = sqlite3.connect(path)
    create(connection, 4, ["/a", "/b"])
    insert(connection, payloads(40_000, size_bytes=4))
    insert(connection, payloads(20, size_bytes=1 << 20))
    insert(connection, payloads(2, size_bytes=0))
    insert(connection, payloads(20, size_bytes=1 << 20))
    connection.commit()
    connection.close()

    with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
        blocks = list(reader.blocks())

    assert max(block.data.nbytes for block in blocks) <= 5 << 20
    assert max(len(block.starts) for block in blocks) <= 40_000
    assert len(blocks) > 2
    with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
        assert sorted(messages_of(reader)) == sorted(judged(path))


@pytest.mark.parametrize(
    "name",
    [b"a?mode=rw.db3", b"a#b.db3", b"a%41.db3", b"\xff\xfe.db3", b"new\nline.db3", b"a b'.db3"],
)
def test_any_name_is_opened_and_no_other(db3: Path, name: bytes) -> None:
    """Names with URI characters or bytes that are no text open that very file."""
    path = db3.with_name(name.decode("utf-8", "surrogateescape"))
    db3.rename(path)
    path.with_name("aA.db3").write_bytes(b"what a%41.db3 must not be taken for")

    with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
        assert len(messages_of(reader)) == 1000


@pytest.mark.parametrize("becomes", ["deleted", "replaced", "moved"])
def test_held_file_is_read_whatever_becomes_of_its_name(
    db3: Path, tmp_path: Path, becomes: str
) -> None:
    """SQLite opens by name: neither an error nor another file's messages."""
    file, rows = sqlite_file(db3), sorted(judged(db3))
    other = tmp_path / "other.db3"
    with sqlite3.connect(other) as connection:
        create(connection, 4, ["/c"])
        insert(connection, payloads(10))
    connection.close()
    with HeldFiles([db3]):
        if becomes == "moved":
            db3.rename(db3.with_name("elsewhere.db3"))
        if becomes == "deleted":
            db3.unlink()
        else:
            other.rename(db3)
        for _ in range(2):
            with open_sqlite3(file, limits=LIMITS, scratch_dir=tmp_path) as reader:
                assert sorted(messages_of(reader)) == rows


def test_source_is_never_touched(db3: Path) -> None:
    """Reading changes neither the file nor its folder."""
    before = (db3.read_bytes(), db3.stat().st_mtime_ns, sorted(db3.parent.iterdir()))

    with open_sqlite3(sqlite_file(db3), limits=LIMITS) as reader:
        messages_of(reader)

    assert (db3.read_bytes(), db3.stat().st_mtime_ns, sorted(db3.parent.iterdir())) == before


def test_recorder_that_never_closed_is_unhealthy(db3: Path) -> None:
    """One metadata row that knows of no message is the mark of a recorder that was killed."""
    opened = "starting_time:\n  nanoseconds_since_epoch: 9223372036854775807\nmessage_count: 0\n"
    closed = "starting_time:\n  nanoseconds_since_epoch: 17\nmessage_count: 1000\n"
    health = []
    for document in (opened, closed):
        with sqlite3.connect(db3) as connection:
            connection.execute(
                "INSERT INTO metadata(metadata_version, metadata) VALUES (9, ?)", (document,)
            )
        connection.close()
        with open_sqlite3(sqlite_file(db3), limits=LIMITS) as reader:
            health.append(reader.healthy)
            assert len(messages_of(reader)) == 1000

    assert health == [False, True]


@pytest.mark.parametrize(("distro", "whole_at"), [("jazzy", 2), ("rosbags", 1)])
def test_file_is_searched_for_damage_until_its_closing_note_is_there(
    db3: Path, distro: str, whole_at: int
) -> None:
    """Which note shows that the file was closed depends on who wrote it."""
    with sqlite3.connect(db3) as connection:
        connection.execute("UPDATE schema SET ros_distro = ?", (distro,))
    proven = []
    for _ in range(3):
        schema = read_schema(connection, limits=LIMITS)
        assert schema is not None
        proven.append(schema.proven)
        note = "message_count: 1000\n"
        connection.execute("INSERT INTO metadata(metadata_version, metadata) VALUES (9, ?)", [note])
    connection.close()

    assert proven.index(True) == whole_at


def test_file_of_rosbags_needs_no_search(tmp_path: Path) -> None:
    """What the library writes today is closed by what stands in it."""
    typestore = get_typestore(Stores.ROS2_JAZZY)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topic = writer.add_connection("/a", "std_msgs/msg/String", typestore=typestore)
        writer.write(topic, 1, b"\0\1\0\0\2\0\0\0a\0")
    connection = sqlite3.connect(tmp_path / "bag" / "bag.db3")
    schema = read_schema(connection, limits=LIMITS)
    connection.close()

    assert schema is not None
    assert schema.proven


def test_odd_rows_are_counted_and_the_rest_arrives(tmp_path: Path) -> None:
    """Rows that are no messages are counted by reason; text payloads are read as their bytes."""
    path = tmp_path / "bag_0.db3"
    connection = sqlite3.connect(path)
    create(connection, 4, ["/a", "/b"])
    connection.execute("DROP INDEX timestamp_idx")
    connection.execute("DROP TABLE messages")
    connection.execute(
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data)"
    )
    insert(
        connection,
        [
            (1, 5, b"good"),
            (1, 6, None),
            (1, 7, 12),
            (2, 8, "text"),
            (9, 9, b"orphan"),
            (None, 9, b"orphan"),
            (2, None, b"timeless"),
            (2, 1.5e30, b"beyond"),
            (2, "noon", b"words"),
            (2, -5, b"before"),
            (1, 2**63 - 1, b"last"),
            (1, 0, b""),
        ],
    )
    connection.commit()
    connection.close()

    with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
        found = messages_of(reader)

        assert sorted(found) == [
            ("/a", 0, b""),
            ("/a", 5, b"good"),
            ("/a", 2**63 - 1, b"last"),
            ("/b", -5, b"before"),
            ("/b", 8, b"text"),
        ]
        assert by_topic(reader) == {
            ("/a", "payload is not a blob"): 2,
            ("", "topic is not declared in the file"): 2,
            ("/b", "timestamp is not an integer"): 3,
        }
        assert dict(reader.tally.extras) == {"payloads stored as text, read as bytes": 1}


def test_service_event_topic_gets_the_service_text(tmp_path: Path) -> None:
    """Rosbag2 stores what a service event consists of under the name of the service."""
    path = tmp_path / "bag_0.db3"
    connection = sqlite3.connect(path)
    create(connection, 4)
    connection.execute("UPDATE topics SET type = 'pkg/srv/Add_Event'")
    connection.execute(
        "UPDATE message_definitions SET topic_type = 'pkg/srv/Add',"
        " encoded_message_definition = 'int64 a\n---\nint64 sum\n'"
    )
    connection.commit()
    connection.close()

    with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
        definition = reader.channels[0].definition

    assert definition is not None
    assert definition.text == "int64 a\n---\nint64 sum\n"


def test_serialization_has_no_case(db3: Path) -> None:
    """What other programs write in capital letters is the same."""
    with sqlite3.connect(db3) as connection:
        connection.execute("UPDATE topics SET serialization_format = 'CDR'")
        connection.execute("UPDATE message_definitions SET encoding = ' ROS2MSG'")
    connection.close()

    with open_sqlite3(sqlite_file(db3), limits=LIMITS) as reader:
        assert len(messages_of(reader)) == 1000
        assert all(channel.definition for channel in reader.channels)


def test_foreign_serialization_is_an_obstacle(db3: Path) -> None:
    """Messages that are not CDR are counted, and those of other topics arrive."""
    with sqlite3.connect(db3) as connection:
        connection.execute("UPDATE topics SET serialization_format = 'json' WHERE id = 2")
    connection.close()

    with open_sqlite3(sqlite_file(db3), limits=LIMITS) as reader:
        assert {topic for topic, _, _ in messages_of(reader)} == {"/a"}
        assert reader.channels[1].obstacle
        assert reader.tally.skipped[1, reader.channels[1].obstacle] == 500


@pytest.mark.parametrize("size_bytes", [100_001, 400_000])
def test_payload_over_the_limit_is_counted_and_the_rest_arrives(db3: Path, size_bytes: int) -> None:
    """A payload over the limit is stepped over, both just over it and far beyond."""
    with sqlite3.connect(db3) as connection:
        connection.execute("UPDATE messages SET data = zeroblob(?) WHERE id = 500", (size_bytes,))
    connection.close()

    limits = ReadLimits(message_bytes_max=100_000)
    with open_sqlite3(sqlite_file(db3), limits=limits) as reader:
        assert len(messages_of(reader)) == 999
        assert by_topic(reader) == {("/b", "payload is over the size limit"): 1}


def test_too_many_topics_are_refused(tmp_path: Path) -> None:
    """A file that declares more topics than allowed is refused by name."""
    path = tmp_path / "bag_0.db3"
    connection = sqlite3.connect(path)
    create(connection, 4, [f"/t{index}" for index in range(11)])
    connection.commit()
    connection.close()

    with pytest.raises(RecordingLimitError) as caught:
        open_sqlite3(sqlite_file(path), limits=ReadLimits(channels_max=10))
    assert caught.value.path == path


def test_what_is_no_rosbag2_database_is_refused(tmp_path: Path) -> None:
    """Empty, foreign, missing and special files each end in the right error, without blocking."""
    foreign = tmp_path / "browser.db3"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE cookies(id)")
    connection.execute("CREATE VIEW messages AS SELECT 1 AS topic_id, 2 AS timestamp, 3 AS data")
    connection.commit()
    connection.close()
    (tmp_path / "empty.db3").touch()
    (tmp_path / "text.db3").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "link.db3").symlink_to(foreign)
    (tmp_path / "folder.db3").mkdir()
    os.mkfifo(tmp_path / "fifo.db3")
    expected = {
        "browser": NotARecordingError,
        "empty": DamagedRecordingError,
        "text": NotARecordingError,
        "link": NotARecordingError,
        "folder": NotARecordingError,
        "fifo": NotARecordingError,
    }

    for name, kind in expected.items():
        path = tmp_path / f"{name}.db3"
        with pytest.raises(kind) as caught:
            open_sqlite3(sqlite_file(path), limits=LIMITS)
        assert caught.value.path == path
    file = sqlite_file(foreign)
    foreign.unlink()
    with pytest.raises(RecordingVanishedError):
        open_sqlite3(file, limits=LIMITS)


def test_memory_goes_by_the_rows_of_a_file_and_not_by_its_size() -> None:
    """A file of 100 GB may hold a few thousand large messages."""
    before_bytes = psutil.Process().memory_info().rss
    seen, contents = SeenRows(100 << 30), RowContents(100 << 30)
    seen.add_new(range(1, 5_000))
    assert not seen.add(4_999)
    assert seen.add(5_000)
    assert contents.is_new((5_000, "other"), 5_000, first=True)
    assert len(seen) == 5_000
    assert psutil.Process().memory_info().rss - before_bytes < 32 << 20
