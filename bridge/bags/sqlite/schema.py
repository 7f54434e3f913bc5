"""What the small tables of a rosbag2 sqlite3 file say: topics, definitions, the recorder's notes.

Versions of the layout, recognised by their tables and columns:

| version | recorder | topics | definitions |
|---|---|---|---|
| 1 | Crystal | id, name, type, serialization_format | none |
| 2 | Dashing to Galactic | + offered_qos_profiles | none |
| 3 | Humble | the same, with tables `schema` and `metadata` | none |
| 4 | Iron and later | + type_description_hash | table `message_definitions` |
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge.bags.container import Channel, ReadLimits
from bridge.definitions import embedded_definition, interface_of, normal_msgtype
from bridge.errors import RecordingLimitError
from bridge.model import Definition, Serialization

# The starting time that the recorder writes as long as there is no message.
NO_TIME_NS = 2**63 - 1

# Recorders leave a note when they open a file and another when they close it. The Python library
# rosbags leaves one, with all messages, in the transaction that closes.
CLOSING_NOTE = {"rosbags": 1}
RECORDERS_CLOSING_NOTE = 2

TABLES = ("schema", "topics", "messages", "message_definitions", "metadata")

MESSAGE_COLUMNS = frozenset({"topic_id", "timestamp", "data"})


class TopicRow(NamedTuple):
    """A row of the table `topics`, empty text standing for columns that a version lacks."""

    id: int
    name: str
    type: str
    serialization_format: str = "cdr"
    offered_qos_profiles: str = ""
    type_description_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The small tables, read.

    Attributes:
        version: 1 to 4, or what the file says.
        distro: The ROS distribution that recorded; empty where unknown.
        channel_of: Channel index by topic id.
        channels: The topics, in order of their ids.
        notes: The recorder's own metadata documents (YAML text), oldest first.
        closed: False where the recorder's notes show that it never closed the file.
        proven: Whether its notes show that it did; older recorders leave none.
    """

    version: int
    distro: str
    channel_of: Mapping[int, int]
    channels: tuple[Channel, ...]
    notes: tuple[str, ...]
    closed: bool
    proven: bool


def read_schema(connection: sqlite3.Connection, *, limits: ReadLimits) -> Schema | None:
    """Read the small tables; None where these are not the tables of a rosbag2 file.

    Raises:
        RecordingLimitError: More topics than allowed.
        sqlite3.DatabaseError: The database is damaged.
    """
    connection.text_factory = _text
    columns = {table: _columns(connection, table) for table in TABLES}
    if not ({"id", "name", "type"} <= columns["topics"] and columns["messages"] >= MESSAGE_COLUMNS):
        return None
    topics = _topics(connection, columns["topics"], limits)
    definitions = _definitions(connection, limits) if columns["message_definitions"] else {}
    notes = _notes(connection) if columns["metadata"] else ()
    version, distro = _version(connection, columns)
    return schema_of(topics, definitions=definitions, notes=notes, version=version, distro=distro)


def schema_of(
    topics: list[TopicRow],
    *,
    definitions: Mapping[str, Definition],
    notes: tuple[str, ...],
    version: int,
    distro: str,
) -> Schema:
    """Put the rows of the small tables together, however they were read."""
    return Schema(
        version=version,
        distro=distro,
        channel_of={topic.id: index for index, topic in enumerate(topics)},
        channels=tuple(_channel(index, topic, definitions) for index, topic in enumerate(topics)),
        notes=notes,
        closed=not (len(notes) == 1 and str(NO_TIME_NS) in notes[0]),
        proven=len(notes) >= CLOSING_NOTE.get(distro, RECORDERS_CLOSING_NOTE),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """List the columns of a table; views and virtual tables are no tables to us."""
    row = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchone()
    if row is None or not str(row[0]).upper().startswith("CREATE TABLE"):
        return frozenset()
    info = connection.execute(f"PRAGMA table_info({table})")
    return frozenset(str(column[1]) for column in info)


def _topics(
    connection: sqlite3.Connection, columns: frozenset[str], limits: ReadLimits
) -> list[TopicRow]:
    """Read the topics with the columns that are there."""
    wanted = [name for name in TopicRow._fields if name in columns]
    query = f"SELECT {', '.join(wanted)} FROM topics ORDER BY id LIMIT ?"  # noqa: S608 (our names)
    rows = connection.execute(query, (limits.channels_max + 1,)).fetchall()
    check_topics(len(rows), limits)
    return [_topic(dict(zip(wanted, row, strict=True))) for row in rows]


def check_topics(count: int, limits: ReadLimits) -> None:
    """Refuse a file that declares too many topics.

    Raises:
        RecordingLimitError: There are more than allowed.
    """
    if count > limits.channels_max:
        raise RecordingLimitError(
            f"the file declares more than {limits.channels_max} topics (reading.channels_max)"
        )


def _topic(row: Mapping[str, Any]) -> TopicRow:
    """Take a row of `topics`; what a recorder cannot have written is damage."""
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    if not isinstance(row["id"], int) or not texts.keys() >= {"name", "type"}:
        raise sqlite3.DatabaseError("a row of the table topics is damaged")
    return TopicRow(id=row["id"], **texts)


def _definitions(connection: sqlite3.Connection, limits: ReadLimits) -> dict[str, Definition]:
    """Read the embedded definitions by type name; over-long ones count as missing."""
    rows = connection.execute(
        "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        " WHERE length(encoded_message_definition) BETWEEN 1 AND ? ORDER BY id",
        (limits.definition_bytes_max,),
    )
    found: dict[str, Definition] = {}
    for topic_type, encoding, text in rows:
        definition = embedded_definition(str(encoding), str(text))
        if definition is not None:
            found.setdefault(normal_msgtype(str(topic_type)), definition)
    return found


def _notes(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Read the recorder's metadata documents."""
    rows = connection.execute("SELECT metadata FROM metadata ORDER BY id LIMIT 100")
    return tuple(str(row[0]) for row in rows)


def _version(
    connection: sqlite3.Connection, columns: Mapping[str, frozenset[str]]
) -> tuple[int, str]:
    """Tell the version of the layout, and the distribution where the file names it."""
    if {"schema_version", "ros_distro"} <= columns["schema"]:
        row = connection.execute("SELECT schema_version, ros_distro FROM schema").fetchone()
        if row is not None:
            return (row[0] if isinstance(row[0], int) else 0), str(row[1] or "")
    return (2 if "offered_qos_profiles" in columns["topics"] else 1), ""


def _channel(index: int, topic: TopicRow, definitions: Mapping[str, Definition]) -> Channel:
    """Describe a topic; messages derived from a service have its text, under the service's name."""
    msgtype = normal_msgtype(topic.type)
    definition = definitions.get(msgtype) or definitions.get(interface_of(msgtype))
    foreign = topic.serialization_format not in {"cdr", ""}
    return Channel(
        index=index,
        topic=topic.name,
        msgtype=msgtype,
        serialization=Serialization.CDR,
        definition=definition,
        qos=topic.offered_qos_profiles,
        type_hash=topic.type_description_hash,
        obstacle=f"serialization format {topic.serialization_format!r} is not cdr"
        if foreign
        else "",
    )
