"""Databases as other programs lay them out: other tables, columns, numbers, pages and encodings."""

import sqlite3
from collections import Counter
from pathlib import Path

import apsw
import pytest

from bridge.bags.container import ReadLimits
from bridge.bags.sqlite.reader import ONE_ID, SqliteReader, open_sqlite3
from bridge.bags.sqlite.rows import TEXT_NUMBERS
from bridge.errors import DamagedRecordingError, NotARecordingError
from tests.bags.sqlite.sqlite_files import (
    Message,
    create,
    messages_of,
    payloads,
    sqlite_file,
)

COLUMNS = "id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB"
MESSAGES = f"CREATE TABLE messages({COLUMNS})"


def made(path: Path, *statements: str, size_bytes: int = 400, page_bytes: int = 4096) -> Path:
    """Make a file of 300 messages.

    Args:
        path: Where.
        statements: What makes the table of messages, and what is to follow once it is full.
        size_bytes: The size of a payload.
        page_bytes: The size of a page.
    """
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size = {page_bytes}")
    create(connection, 4, ["/a", "/b"])
    connection.execute("DROP TABLE messages")
    table, *others = statements or (MESSAGES,)
    connection.execute(table)
    connection.executemany(
        "INSERT INTO messages(id, topic_id, timestamp, data) VALUES (?, ?, ?, ?)",
        [(n, *row) for n, row in enumerate(payloads(300, size_bytes=size_bytes), start=1)],
    )
    for statement in others:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def joined(path: Path) -> Counter[Message]:
    """Read a file as rosbag2 does: joined by topic id, numbers cast, however they are stored."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT name, CAST(timestamp AS INTEGER), data FROM messages"
            " JOIN topics ON topics.id = messages.topic_id"
        ).fetchall()
    connection.close()
    return Counter((str(name), int(time), bytes(data)) for name, time, data in rows)


def opened(path: Path) -> SqliteReader:
    return open_sqlite3(sqlite_file(path), limits=ReadLimits())


def torn(path: Path) -> Path:
    """Cut a third off the end of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


LAYOUTS = {
    "no row ids": (f"{MESSAGES} WITHOUT ROWID",),
    "key of two columns": (
        f"{MESSAGES[:-1].replace(' PRIMARY KEY', '')}, PRIMARY KEY(timestamp, id)) WITHOUT ROWID",
    ),
    "key with the payload in it": (
        f"{MESSAGES[:-1].replace(' PRIMARY KEY', '')}, PRIMARY KEY(data, id)) WITHOUT ROWID",
    ),
    "other order": (
        "CREATE TABLE messages(data BLOB, timestamp INTEGER, id INTEGER PRIMARY KEY, topic_id)",
    ),
    "more columns": (f"CREATE TABLE messages({COLUMNS}, seq INTEGER DEFAULT 7, note TEXT)",),
    "added column": (MESSAGES, "ALTER TABLE messages ADD COLUMN received INTEGER"),
    "computed columns": (
        f"CREATE TABLE messages({COLUMNS}, half AS (timestamp / 2) STORED, same AS (topic_id))",
    ),
    "no primary key": (MESSAGES.replace(" PRIMARY KEY", ""),),
    "key that is no row id": (MESSAGES.replace("INTEGER PRIMARY KEY", "INT PRIMARY KEY"),),
    "column called rowid": (f"CREATE TABLE messages(rowid TEXT DEFAULT 'x', {COLUMNS[15:]}, id)",),
    "capitals": ("CREATE TABLE Messages(ID INTEGER PRIMARY KEY, Topic_Id, Timestamp, DATA BLOB)",),
    "typed strictly": (f"{MESSAGES} STRICT",),
    "rows deleted": (MESSAGES, "DELETE FROM messages WHERE id % 3 = 0"),
    "tables of the same names": (
        MESSAGES,
        "DROP TABLE metadata",
        "DROP TABLE schema",
        "CREATE TABLE metadata(key TEXT, value TEXT)",
        "INSERT INTO metadata VALUES ('vehicle', 'v1')",
        "CREATE TABLE schema(v INTEGER)",
    ),
    "bare definitions": (
        MESSAGES,
        "DROP TABLE message_definitions",
        "CREATE TABLE message_definitions(topic_type, encoding, encoded_message_definition)",
        "INSERT INTO message_definitions VALUES ('std_msgs/msg/String', 'ros2msg', 'string data')",
    ),
    "topics without row ids": (
        MESSAGES,
        "ALTER TABLE topics RENAME TO old",
        "CREATE TABLE topics(id PRIMARY KEY, name, type, serialization_format) WITHOUT ROWID",
        "INSERT INTO topics SELECT id, name, type, serialization_format FROM old",
    ),
    "ids with gaps": (
        MESSAGES,
        "UPDATE topics SET id = id * 1000000000000 - 1000000000003",
        "UPDATE messages SET topic_id = topic_id * 1000000000000 - 1000000000003",
    ),
    "view beside": (MESSAGES, "CREATE VIEW latest AS SELECT max(timestamp) FROM messages"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_arrive_whatever_the_layout(tmp_path: Path, layout: str) -> None:
    """Every message arrives once, with its definition, from a file that is called healthy."""
    path = made(tmp_path / "a.db3", *LAYOUTS[layout])

    with opened(path) as reader:
        assert Counter(messages_of(reader)) == joined(path)
        assert reader.healthy
        assert not reader.tally.skipped
        assert all(channel.definition for channel in reader.channels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_costs_no_intact_row_whatever_the_layout(tmp_path: Path, layout: str) -> None:
    """A file that lost its end gives what is left of every kind of table."""
    path = made(tmp_path / "a.db3", *LAYOUTS[layout])
    whole = joined(path)

    with opened(torn(path)) as reader:
        found = Counter(messages_of(reader))

        assert found <= whole
        assert not reader.healthy
        assert reader.tally.losses
        assert found.total() > 100


def test_damaged_page_costs_the_rows_in_it_where_rows_have_no_ids(tmp_path: Path) -> None:
    """Rows are in leaves and parents of the tree; of one page, nothing but its own rows is lost."""
    key = f"{MESSAGES[:-1].replace(' PRIMARY KEY', '')}, PRIMARY KEY(topic_id, timestamp, id))"
    path = made(tmp_path / "a.db3", f"{key} WITHOUT ROWID", page_bytes=512)
    whole, content = joined(path), path.read_bytes()
    starts = [at for at in range(512, len(content), 512) if content[at] in {2, 10}]
    parents = [at for at in starts if content[at] == 2]
    assert parents

    for start in starts[::3] + parents:
        damaged = bytearray(content)
        damaged[start : start + 512] = b"\xff" * 512
        path.write_bytes(damaged)
        with opened(path) as reader:
            found = Counter(messages_of(reader))
            losses = [(loss.start_bytes, loss.end_bytes) for loss in reader.tally.losses]
        cells = int.from_bytes(content[start + 3 : start + 5], "big")
        assert found <= whole
        assert found.total() >= whole.total() - cells
        assert any(first <= start < end for first, end in losses)


@pytest.mark.parametrize(
    ("column", "kind"), [("timestamp", "TEXT"), ("timestamp", "REAL"), ("topic_id", "TEXT")]
)
def test_numbers_stored_as_others_are_read_and_counted(
    tmp_path: Path, column: str, kind: str
) -> None:
    """Times and topic ids as text or floats are taken for what they stand for, in salvage too."""
    table = MESSAGES.replace(f"{column} INTEGER", f"{column} {kind}")
    path = made(tmp_path / "a.db3", table)
    whole = joined(path)

    with opened(path) as reader:
        assert Counter(messages_of(reader)) == whole
        assert reader.healthy
        assert reader.tally.extras[TEXT_NUMBERS] == 300
    with opened(torn(path)) as reader:
        found = Counter(messages_of(reader))
    assert found <= whole
    assert found.total() > 100


def test_topic_ids_stored_as_text_are_read(tmp_path: Path) -> None:
    """The ids of topics may be text where those of messages are numbers."""
    path = made(
        tmp_path / "a.db3",
        MESSAGES,
        "ALTER TABLE topics RENAME TO old",
        "CREATE TABLE topics(id TEXT, name, type, serialization_format)",
        "INSERT INTO topics SELECT id, name, type, serialization_format FROM old",
    )

    with opened(path) as reader:
        assert len(messages_of(reader)) == 300
        assert reader.healthy


def test_topics_with_one_id_give_each_message_once(tmp_path: Path) -> None:
    """Rows of topics that repeat an id double nothing; another name under it is told."""
    again = "INSERT INTO topics SELECT id, {}, type, serialization_format FROM old WHERE id = 2"
    path = made(
        tmp_path / "a.db3",
        MESSAGES,
        "ALTER TABLE topics RENAME TO old",
        "CREATE TABLE topics(id INTEGER, name, type, serialization_format)",
        "INSERT INTO topics SELECT id, name, type, serialization_format FROM old",
        again.format("name"),
        again.format("'/other'"),
    )

    with opened(path) as reader:
        assert Counter(name for name, _, _ in messages_of(reader)) == {"/a": 150, "/b": 150}
        assert reader.tally.contradictions[ONE_ID] == 1


@pytest.mark.parametrize(
    ("page_bytes", "vacuum", "encoding", "reserved"),
    [
        (512, "FULL", "UTF-16le", 0),
        (512, "NONE", "UTF-8", 32),
        (1024, "INCREMENTAL", "UTF-8", 32),
        (2048, "FULL", "UTF-8", 1),
        (4096, "NONE", "UTF-16be", 255),
        (8192, "FULL", "UTF-16be", 0),
        (16384, "NONE", "UTF-16le", 32),
        (32768, "INCREMENTAL", "UTF-8", 0),
        (65536, "FULL", "UTF-8", 32),
    ],
)
def test_pages_of_every_kind_are_read_and_salvaged(
    tmp_path: Path, page_bytes: int, vacuum: str, encoding: str, reserved: int
) -> None:
    """Size, reserved bytes, parents' pages and encoding change nothing, in a cut file either."""
    path = tmp_path / "a.db3"
    connection = apsw.Connection(str(path))
    connection.reserve_bytes("main", reserved)
    connection.execute(f"PRAGMA page_size = {page_bytes}")
    connection.execute(f"PRAGMA auto_vacuum = {vacuum}")
    connection.execute(f"PRAGMA encoding = '{encoding}'")
    connection.execute("CREATE TABLE other(id)")
    connection.close()
    made(path, size_bytes=2000)
    assert path.read_bytes()[20] == reserved
    whole = joined(path)

    with opened(path) as reader:
        assert Counter(messages_of(reader)) == whole
        assert reader.healthy
    with opened(torn(path)) as reader:
        found = Counter(messages_of(reader))
        assert {channel.topic for channel in reader.channels} == {"/a", "/b"}
        assert all(channel.definition for channel in reader.channels)
    assert found <= whole
    assert found.total() > 120


@pytest.mark.parametrize("table", ["topics", "messages"])
def test_views_are_refused_by_name(tmp_path: Path, table: str) -> None:
    """A view is not run: the error says what it is."""
    path = made(
        tmp_path / "a.db3",
        MESSAGES,
        f"ALTER TABLE {table} RENAME TO stored",
        f"CREATE VIEW {table} AS SELECT * FROM stored",
    )

    with pytest.raises(NotARecordingError, match=f"'{table}' is a view") as caught:
        opened(path)
    assert caught.value.path == path


@pytest.mark.parametrize("was", [b"topics(id INTEGER", b"messages(id INTEGER", b"topic_id INTEGER"])
def test_damaged_list_of_tables_costs_no_message(tmp_path: Path, was: bytes) -> None:
    """A flipped byte in what made a table still makes one, but with other columns."""
    path = made(tmp_path / "a.db3")
    whole = joined(path)
    content = path.read_bytes()
    assert content.count(was) == 1
    path.write_bytes(content.replace(was, was.replace(b"id ", b"idy")))

    with opened(path) as reader:
        assert Counter(messages_of(reader)) == whole
        assert not reader.healthy


def test_emptied_list_of_tables_costs_no_message(tmp_path: Path) -> None:
    """A first page that counts no cells looks like a database without tables."""
    path = made(tmp_path / "a.db3")
    whole = joined(path)
    content = bytearray(path.read_bytes())
    content[103:105] = bytes(2)
    path.write_bytes(content)

    with opened(path) as reader:
        assert Counter(messages_of(reader)) == whole
        assert not reader.healthy


def test_rows_in_the_log_are_read_by_key(tmp_path: Path) -> None:
    """What is only in the write-ahead log arrives from a table without row ids too."""
    path = made(tmp_path / "a.db3", f"{MESSAGES} WITHOUT ROWID")
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO messages VALUES (1000, 1, 5, x'00010000')")
    writer.commit()
    try:
        with opened(path) as reader:
            assert len(messages_of(reader)) == 301
    finally:
        writer.close()


def test_database_of_another_program_is_refused_when_it_is_damaged(tmp_path: Path) -> None:
    """Nothing of a foreign database is taken for a recording, whatever is wrong with it."""
    path = tmp_path / "browser.db3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE cookies(id INTEGER PRIMARY KEY, host TEXT, value BLOB)")
    connection.executemany("INSERT INTO cookies(host, value) VALUES (?, ?)", [("a", b"x")] * 500)
    connection.commit()
    connection.close()
    content = bytearray(path.read_bytes())
    content[103:105] = bytes(2)
    path.write_bytes(content)

    with pytest.raises(DamagedRecordingError, match="no topic"):
        opened(path)
