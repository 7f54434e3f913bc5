"""The catalogue: which sequences, sessions, topics, segments and notifications exist.

A SQLite database in WAL mode with synchronous=FULL, so that what a committed transaction says
survives a power cut. Every method takes the one connection under a lock; what must be checked and
done as one step runs inside `transaction()`.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pyarrow as pa

from bridge.errors import ConfigError


class TopicState(StrEnum):
    """Where a topic is on its one way: created, being put, locked."""

    EMPTY = "empty"
    UPLOADING = "uploading"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True)
class SequenceRecord:
    """A sequence; `user_metadata` is JSON text."""

    id: int
    uuid: str
    locator: str
    user_metadata: str
    created_ns: int


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session; open while `completed_ns` is None."""

    id: int
    sequence_id: int
    uuid: str
    locator: str
    created_ns: int
    completed_ns: int | None


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """A topic; its totals are zero and its bounds None until it is finalized with rows.

    `user_metadata` is JSON text, `schema_bytes` an IPC schema message, `first_ns` and `last_ns`
    the smallest and largest `timestamp_ns`, both inclusive.
    """

    id: int
    sequence_id: int
    session_id: int
    uuid: str
    locator: str
    ontology_tag: str
    serialization_format: str
    user_metadata: str
    created_ns: int
    completed_ns: int | None
    state: TopicState
    schema_bytes: bytes | None
    rows: int
    size_bytes: int
    chunks: int
    first_ns: int | None
    last_ns: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", TopicState(self.state))  # SQLite gives bare text

    @property
    def schema(self) -> pa.Schema:
        """The schema it was put with; without fields before that."""
        if self.schema_bytes is None:
            return pa.schema([])
        return pa.ipc.read_schema(pa.py_buffer(self.schema_bytes))


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A Parquet file of a topic, sealed and durable; each of its row groups is one chunk."""

    number: int
    chunks: int
    rows: int
    size_bytes: int
    first_ns: int | None
    last_ns: int | None


@dataclass(frozen=True, slots=True)
class Notification:
    """A remark on a sequence or topic."""

    kind: str
    message: str
    created_ns: int


SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE sequences (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    locator TEXT NOT NULL UNIQUE,
    user_metadata TEXT NOT NULL,
    created_ns INTEGER NOT NULL
);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    sequence_id INTEGER NOT NULL REFERENCES sequences ON DELETE CASCADE,
    uuid TEXT NOT NULL UNIQUE,
    locator TEXT NOT NULL UNIQUE,
    created_ns INTEGER NOT NULL,
    completed_ns INTEGER
);
CREATE INDEX sessions_of_sequence ON sessions (sequence_id);
CREATE TABLE topics (
    id INTEGER PRIMARY KEY,
    sequence_id INTEGER NOT NULL REFERENCES sequences ON DELETE CASCADE,
    session_id INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
    uuid TEXT NOT NULL UNIQUE,
    locator TEXT NOT NULL UNIQUE,
    ontology_tag TEXT NOT NULL,
    serialization_format TEXT NOT NULL,
    user_metadata TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    completed_ns INTEGER,
    state TEXT NOT NULL,
    schema_bytes BLOB,
    rows INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    chunks INTEGER NOT NULL DEFAULT 0,
    first_ns INTEGER,
    last_ns INTEGER
);
CREATE INDEX topics_of_sequence ON topics (sequence_id);
CREATE INDEX topics_of_session ON topics (session_id);
CREATE TABLE segments (
    topic_id INTEGER NOT NULL REFERENCES topics ON DELETE CASCADE,
    number INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    first_ns INTEGER,
    last_ns INTEGER,
    PRIMARY KEY (topic_id, number)
) WITHOUT ROWID;
CREATE TABLE notifications (
    id INTEGER PRIMARY KEY,
    sequence_id INTEGER NOT NULL REFERENCES sequences ON DELETE CASCADE,
    topic_id INTEGER REFERENCES topics ON DELETE CASCADE,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    created_ns INTEGER NOT NULL
);
CREATE INDEX notifications_of_sequence ON notifications (sequence_id);
CREATE INDEX notifications_of_topic ON notifications (topic_id);
"""

# ruff: noqa: S608 - statements are put together from our own names only; values are bound

_SEQUENCE = "id, uuid, locator, user_metadata, created_ns"
_SESSION = "id, sequence_id, uuid, locator, created_ns, completed_ns"
_TOPIC = (
    "id, sequence_id, session_id, uuid, locator, ontology_tag, serialization_format,"
    " user_metadata, created_ns, completed_ns, state, schema_bytes, rows, size_bytes, chunks,"
    " first_ns, last_ns"
)
_SEGMENT = "number, chunks, rows, size_bytes, first_ns, last_ns"


class Catalogue:
    """What the server holds, durable and consistent.

    The connection belongs to the thread that holds the lock; every method takes it.
    """

    def __init__(self, path: Path) -> None:
        """Open the catalogue, or make it.

        Raises:
            ConfigError: The file was written by a newer version of this program.
        """
        self._lock = threading.RLock()
        self._depth = 0  # of transaction(); guarded by _lock
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(path)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, path: Path) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self.transaction():
                for statement in _SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise ConfigError(
                f"catalogue {path} has schema version {version}, this program knows"
                f" {SCHEMA_VERSION}",
                hint="Start the version of the program that wrote it, or use an empty folder.",
            )

    def close(self) -> None:
        """Close the database; the catalogue is of no use afterwards."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside one step: all of it is durable at the end, or none of it is."""
        with self._lock:
            if self._depth:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def _rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def _insert(self, table: str, **values: object) -> int:
        columns = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with self._lock:
            cursor = self._connection.execute(
                f"INSERT INTO {table} ({columns}) VALUES ({marks})",
                tuple(values.values()),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    # Sequences

    def add_sequence(self, *, uuid: str, locator: str, user_metadata: str) -> None:
        """Add a sequence; its metadata is JSON text."""
        self._insert(
            "sequences",
            uuid=uuid,
            locator=locator,
            user_metadata=user_metadata,
            created_ns=time.time_ns(),
        )

    def sequences(self) -> list[SequenceRecord]:
        """Give all sequences, oldest first."""
        rows = self._rows(f"SELECT {_SEQUENCE} FROM sequences ORDER BY id")
        return [SequenceRecord(*row) for row in rows]  # type: ignore[arg-type]

    def sequence(self, *, locator: str = "", uuid: str = "") -> SequenceRecord | None:
        """Find a sequence by its locator or its uuid; an empty text names none."""
        column, value = ("locator", locator) if locator else ("uuid", uuid)
        rows = self._rows(f"SELECT {_SEQUENCE} FROM sequences WHERE {column} = ?", value)
        return SequenceRecord(*rows[0]) if rows else None  # type: ignore[arg-type]

    def delete_sequence(self, sequence: SequenceRecord) -> None:
        """Forget a sequence and everything in it."""
        self._rows("DELETE FROM sequences WHERE id = ?", sequence.id)

    # Sessions

    def add_session(self, sequence: SequenceRecord, *, uuid: str, locator: str) -> None:
        """Add an open session."""
        self._insert(
            "sessions",
            sequence_id=sequence.id,
            uuid=uuid,
            locator=locator,
            created_ns=time.time_ns(),
        )

    def sessions(self, sequence: SequenceRecord) -> list[SessionRecord]:
        """Give the sessions of a sequence, oldest first."""
        rows = self._rows(
            f"SELECT {_SESSION} FROM sessions WHERE sequence_id = ? ORDER BY id", sequence.id
        )
        return [SessionRecord(*row) for row in rows]  # type: ignore[arg-type]

    def session(self, *, uuid: str = "", locator: str = "") -> SessionRecord | None:
        """Find a session by its uuid or its locator; an empty text names none."""
        column, value = ("locator", locator) if locator else ("uuid", uuid)
        rows = self._rows(f"SELECT {_SESSION} FROM sessions WHERE {column} = ?", value)
        return SessionRecord(*rows[0]) if rows else None  # type: ignore[arg-type]

    def session_locator(self, topic: TopicRecord) -> str:
        """Give the locator of the session that a topic was created in; empty once it is gone."""
        rows = self._rows("SELECT locator FROM sessions WHERE id = ?", topic.session_id)
        return str(rows[0][0]) if rows else ""

    def complete_session(self, session: SessionRecord) -> None:
        """Mark a session as finalized, permanently."""
        self._rows("UPDATE sessions SET completed_ns = ? WHERE id = ?", time.time_ns(), session.id)

    def delete_session(self, session: SessionRecord) -> None:
        """Forget a session and its topics."""
        self._rows("DELETE FROM sessions WHERE id = ?", session.id)

    # Topics

    def add_topic(
        self,
        session: SessionRecord,
        *,
        uuid: str,
        locator: str,
        ontology_tag: str,
        serialization_format: str,
        user_metadata: str,
    ) -> None:
        """Add a topic that has no data yet; its metadata is JSON text."""
        self._insert(
            "topics",
            sequence_id=session.sequence_id,
            session_id=session.id,
            uuid=uuid,
            locator=locator,
            ontology_tag=ontology_tag,
            serialization_format=serialization_format,
            user_metadata=user_metadata,
            created_ns=time.time_ns(),
            state=TopicState.EMPTY,
        )

    def all_topics(self) -> list[TopicRecord]:
        """Give the topics of all sequences, oldest first."""
        return self._topics("1 = 1")

    def topics(self, of: SequenceRecord | SessionRecord) -> list[TopicRecord]:
        """Give the topics of a sequence or of a session, oldest first."""
        column = "sequence_id" if isinstance(of, SequenceRecord) else "session_id"
        return self._topics(f"{column} = ?", of.id)

    def topic(self, locator: str) -> TopicRecord | None:
        """Find a topic."""
        found = self._topics("locator = ?", locator)
        return found[0] if found else None

    def _topics(self, where: str, *values: object) -> list[TopicRecord]:
        rows = self._rows(f"SELECT {_TOPIC} FROM topics WHERE {where} ORDER BY id", *values)
        return [TopicRecord(*row) for row in rows]  # type: ignore[arg-type]

    def begin_upload(self, topic: TopicRecord, *, schema_bytes: bytes) -> None:
        """Mark a topic as uploading data of this schema (an IPC schema message)."""
        self._rows(
            "UPDATE topics SET state = ?, schema_bytes = ? WHERE id = ?",
            TopicState.UPLOADING,
            schema_bytes,
            topic.id,
        )

    def add_segment(self, topic: TopicRecord, segment: SegmentRecord) -> bool:
        """Note a segment that is durable on disk.

        Returns:
            False when the topic has been deleted meanwhile; nothing was noted then.
        """
        with self.transaction():
            # SQLite gives the number of a deleted topic to a later one.
            if not self._topics("uuid = ?", topic.uuid):
                return False
            self._insert(
                "segments",
                topic_id=topic.id,
                number=segment.number,
                chunks=segment.chunks,
                rows=segment.rows,
                size_bytes=segment.size_bytes,
                first_ns=segment.first_ns,
                last_ns=segment.last_ns,
            )
        return True

    def complete_topic(self, topic: TopicRecord) -> bool:
        """Lock a topic whose segments are all noted, and add up what it holds.

        Returns:
            False when the topic has been deleted meanwhile.
        """
        completed = self._rows(
            "UPDATE topics SET state = ?, completed_ns = ?, rows = total.rows,"
            " size_bytes = total.size_bytes, chunks = total.chunks, first_ns = total.first_ns,"
            " last_ns = total.last_ns FROM (SELECT COALESCE(SUM(rows), 0) AS rows,"
            " COALESCE(SUM(size_bytes), 0) AS size_bytes, COALESCE(SUM(chunks), 0) AS chunks,"
            " MIN(first_ns) AS first_ns, MAX(last_ns) AS last_ns FROM segments"
            " WHERE topic_id = ?) AS total WHERE uuid = ? RETURNING id",
            TopicState.FINALIZED,
            time.time_ns(),
            topic.id,
            topic.uuid,
        )
        return bool(completed)

    def segments(self, topic: TopicRecord) -> list[SegmentRecord]:
        """Give the segments of a topic in the order they were written."""
        rows = self._rows(
            f"SELECT {_SEGMENT} FROM segments WHERE topic_id = ? ORDER BY number", topic.id
        )
        return [SegmentRecord(*row) for row in rows]  # type: ignore[arg-type]

    def delete_topic(self, topic: TopicRecord) -> None:
        """Forget a topic."""
        self._rows("DELETE FROM topics WHERE id = ?", topic.id)

    # Notifications

    def add_notification(
        self, on: SequenceRecord | TopicRecord, *, kind: str, message: str
    ) -> None:
        """Attach a notification to a sequence or a topic."""
        topic = on.id if isinstance(on, TopicRecord) else None
        sequence = on.sequence_id if isinstance(on, TopicRecord) else on.id
        self._insert(
            "notifications",
            sequence_id=sequence,
            topic_id=topic,
            kind=kind,
            message=message,
            created_ns=time.time_ns(),
        )

    def notifications(self, on: SequenceRecord | TopicRecord) -> list[Notification]:
        """Give the notifications of a sequence (not of its topics) or of a topic, oldest first."""
        rows = self._rows(
            f"SELECT kind, message, created_ns FROM notifications WHERE {_about(on)} ORDER BY id",
            on.id,
        )
        return [Notification(*row) for row in rows]  # type: ignore[arg-type]

    def delete_notifications(self, on: SequenceRecord | TopicRecord) -> None:
        """Forget the notifications of a sequence (not of its topics) or of a topic."""
        self._rows(f"DELETE FROM notifications WHERE {_about(on)}", on.id)


def _about(on: SequenceRecord | TopicRecord) -> str:
    return "topic_id = ?" if isinstance(on, TopicRecord) else "sequence_id = ? AND topic_id IS NULL"
