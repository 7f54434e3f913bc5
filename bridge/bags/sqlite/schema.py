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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge.bags.container import Channel, ReadLimits
from bridge.bags.sqlite.cells import Text, whole_number
from bridge.bags.sqlite.copy import TROUBLE
from bridge.definitions import embedded_definition, interface_of, normal_msgtype
from bridge.errors import NotARecordingError, RecordingLimitError
from bridge.model import Definition, Serialization

# The starting time that the recorder writes as long as there is no message.
NO_TIME_NS = 2**63 - 1

# Recorders leave a note when they open a file and another when they close it. The Python library
# rosbags leaves one, with all messages, in the transaction that closes.
CLOSING_NOTE = {"rosbags": 1}
RECORDERS_CLOSING_NOTE = 2

NEEDED_TABLES = ("topics", "messages")
TABLES = ("schema", "topics", "messages", "message_definitions", "metadata")

TABLES_DAMAGED = "the list of tables is damaged"

TOPIC_COLUMNS = ("id", "name", "type")
MESSAGE_COLUMNS = ("topic_id", "timestamp", "data")

ROWID_NAMES = ("rowid", "_rowid_", "oid")
"""What SQLite calls the number of a row, unless a column has the name."""

VIRTUAL_COLUMN = 2
"""How SQLite marks a column that is computed when it is read, and not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTable:
    """How the table `messages` is stored.

    Attributes:
        rowid: What the number of a row is called; empty where rows have none, and are kept in the
            tree of their key.
        places: Where topic id, time and payload are among the stored columns.
        columns: How many are stored.
    """

    rowid: str = "rowid"
    places: tuple[int, int, int] = (1, 2, 3)
    columns: int = 4


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
        doubled: How many rows of `topics` have the id of an earlier one and another name.
    """

    version: int
    distro: str
    channel_of: Mapping[int, int]
    channels: tuple[Channel, ...]
    notes: tuple[str, ...]
    closed: bool
    proven: bool
    doubled: int = 0


def read_schema(connection: sqlite3.Connection, *, limits: ReadLimits) -> Schema | None:
    """Read the small tables; None where these are not the tables of a rosbag2 file.

    Raises:
        NotARecordingError: A table of messages or topics is a view.
        RecordingLimitError: More topics than allowed.
        sqlite3.DatabaseError: The database is damaged.
    """
    connection.text_factory = _text
    columns = {table: _columns(connection, table) for table in TABLES}
    right = [
        columns["topics"].issuperset(TOPIC_COLUMNS),
        columns["messages"].issuperset(MESSAGE_COLUMNS),
    ]
    if not any(right):
        return None
    if not all(right):
        raise sqlite3.DatabaseError(TABLES_DAMAGED)
    topics = _topics(connection, columns["topics"], limits)
    definitions = _definitions(connection, columns["message_definitions"], limits)
    notes = _notes(connection, columns["metadata"])
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
    channel_of: dict[int, int] = {}
    for index, topic in enumerate(topics):
        channel_of.setdefault(topic.id, index)
    return Schema(
        version=version,
        distro=distro,
        channel_of=channel_of,
        channels=tuple(_channel(index, topic, definitions) for index, topic in enumerate(topics)),
        notes=notes,
        closed=not (len(notes) == 1 and str(NO_TIME_NS) in notes[0]),
        proven=len(notes) >= CLOSING_NOTE.get(distro, RECORDERS_CLOSING_NOTE),
        doubled=sum(topic.name != topics[channel_of[topic.id]].name for topic in topics),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """List the columns of a table, in small letters: names of SQLite have no case.

    Raises:
        NotARecordingError: It is a view or a virtual table. What these give is computed by whatever
            the file's maker wrote, for however long.
    """
    row = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE",
        (table,),
    ).fetchone()
    if row is None:
        return frozenset()
    if not str(row[0]).upper().startswith("CREATE TABLE"):
        if table not in NEEDED_TABLES:
            return frozenset()
        raise NotARecordingError(
            f"{table!r} is a view or a virtual table of the database; only tables are read",
            hint="copy its rows into a table of that name",
        )
    info = connection.execute(f"PRAGMA table_info({table})")
    return frozenset(str(column[1]).lower() for column in info)


@contextmanager
def leniently(connection: sqlite3.Connection) -> Iterator[None]:
    """Let SQLite open a file that has lost its end, for the tables whose own pages are there."""
    connection.execute("PRAGMA writable_schema = ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA writable_schema = RESET")


def read_message_table(connection: sqlite3.Connection) -> MessageTable:
    """Find out how the table of messages is stored; as recorders store it where that fails."""
    connection.text_factory = _text
    try:
        with leniently(connection):
            info = connection.execute("PRAGMA table_xinfo(messages)").fetchall()
            kinds = connection.execute("PRAGMA table_list(messages)").fetchall()
    except TROUBLE:
        return MessageTable()
    names = [str(row[1]).lower() for row in info]
    stored = [name for name, row in zip(names, info, strict=True) if row[6] != VIRTUAL_COLUMN]
    if not set(stored).issuperset(MESSAGE_COLUMNS):
        return MessageTable()
    rowid = next((name for name in ROWID_NAMES if name not in names), "")
    if any(without_rowid for _, _, _, _, without_rowid, *_ in kinds):
        rowid = ""
        # The columns of the key come first, in its order.
        key = {str(row[1]).lower(): int(row[5]) for row in info if row[5]}
        stored.sort(key=lambda name: key.get(name, len(names)))
    topic_id, time, data = map(stored.index, MESSAGE_COLUMNS)
    return MessageTable(rowid=rowid, places=(topic_id, time, data), columns=len(stored))


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
    texts = {name: value for name, value in row.items() if isinstance(value, str) and name != "id"}
    topic_id = whole_number(Text(row["id"].encode()) if isinstance(row["id"], str) else row["id"])
    if topic_id is None or not texts.keys() >= {"name", "type"}:
        raise sqlite3.DatabaseError("a row of the table topics is damaged")
    return TopicRow(id=topic_id, **texts)


def _definitions(
    connection: sqlite3.Connection, columns: frozenset[str], limits: ReadLimits
) -> dict[str, Definition]:
    """Read the embedded definitions by type name; over-long ones count as missing."""
    if not {"topic_type", "encoding", "encoded_message_definition"} <= columns:
        return {}
    query = (
        "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        " WHERE length(encoded_message_definition) BETWEEN 1 AND ?"
    )
    rows = connection.execute(query + _by_id(columns), (limits.definition_bytes_max,))
    found: dict[str, Definition] = {}
    for topic_type, encoding, text in rows:
        definition = embedded_definition(str(encoding), str(text))
        if definition is not None:
            found.setdefault(normal_msgtype(str(topic_type)), definition)
    return found


def _by_id(columns: frozenset[str]) -> str:
    return " ORDER BY id" if "id" in columns else ""


def _notes(connection: sqlite3.Connection, columns: frozenset[str]) -> tuple[str, ...]:
    """Read the recorder's metadata documents; others have tables of this name too."""
    if "metadata" not in columns:
        return ()
    rows = connection.execute(
        f"SELECT metadata FROM metadata{_by_id(columns)} LIMIT 100"  # noqa: S608 (our names)
    )
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
    foreign = topic.serialization_format.strip().lower() not in {"cdr", ""}
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
