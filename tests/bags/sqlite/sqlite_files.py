"""Makers of rosbag2 sqlite3 files in every version, and a plain reader to judge by."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from bridge.bags.container import ContainerReader
from bridge.model import Container, RecordingFile

TOPICS = {
    1: "id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
    " serialization_format TEXT NOT NULL",
}
TOPICS[2] = f"{TOPICS[1]}, offered_qos_profiles TEXT NOT NULL"
TOPICS[3] = TOPICS[2]
TOPICS[4] = f"{TOPICS[3]}, type_description_hash TEXT NOT NULL"

Message = tuple[str, int, bytes]


def sqlite_file(path: Path) -> RecordingFile:
    return RecordingFile(path=path, size_bytes=path.stat().st_size, container=Container.SQLITE3)


def create(connection: sqlite3.Connection, version: int, topics: Iterable[str] = ("/a",)) -> None:
    """Make the tables of a version; every topic is a std_msgs/msg/String."""
    connection.execute(f"CREATE TABLE topics({TOPICS[version]})")
    connection.execute(
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
        " timestamp INTEGER NOT NULL, data BLOB NOT NULL)"
    )
    connection.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
    if version >= 3:
        connection.execute("CREATE TABLE schema(schema_version INTEGER, ros_distro TEXT NOT NULL)")
        connection.execute(
            "CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER,"
            " metadata TEXT NOT NULL)"
        )
        distro = {3: "humble", 4: "jazzy"}[version]
        connection.execute("INSERT INTO schema VALUES (?, ?)", (version, distro))
    if version >= 4:
        connection.execute(
            "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL,"
            " encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL,"
            " type_description_hash TEXT NOT NULL)"
        )
        connection.execute(
            "INSERT INTO message_definitions VALUES"
            " (1, 'std_msgs/msg/String', 'ros2msg', 'string data\n', 'RIHS01_00')"
        )
    extra = {1: (), 2: ("qos",), 3: ("qos",), 4: ("qos", "RIHS01_00")}[version]
    for topic_id, name in enumerate(topics, start=1):
        row = (topic_id, name, "std_msgs/msg/String", "cdr", *extra)
        connection.execute(f"INSERT INTO topics VALUES ({', '.join('?' * len(row))})", row)


def insert(connection: sqlite3.Connection, rows: Iterable[tuple[object, object, object]]) -> None:
    """Add rows of topic id, timestamp and payload."""
    connection.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", rows)


def payloads(count: int, *, size_bytes: int = 40) -> list[tuple[int, int, bytes]]:
    """Make rows whose payloads all differ; every other topic of two, times a millisecond apart."""
    return [
        (
            1 + index % 2,
            1_700_000_000_000_000_000 + index * 1_000_000,
            index.to_bytes(4, "little") * (size_bytes // 4),
        )
        for index in range(count)
    ]


def messages_of(reader: ContainerReader) -> list[Message]:
    """Read everything, as (topic, time, payload) in the order of the blocks."""
    found: list[Message] = []
    for block in reader.blocks():
        topic = reader.channels[block.channel].topic
        data = block.data.tobytes()
        found += [
            (topic, int(time), data[start:end])
            for time, start, end in zip(block.log_times_ns, block.starts, block.ends, strict=True)
        ]
    return found


def judged(path: Path) -> list[Message]:
    """Read a healthy file with plain SQL, as (topic, time, payload)."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT topics.name, timestamp, data FROM messages JOIN topics"
            " ON topics.id = messages.topic_id"
        ).fetchall()
    connection.close()
    return [(str(name), int(time), bytes(data)) for name, time, data in rows]
