"""What the platform has notified us of, and whom we asked when: a small database of its own.

Kept beside the journal, not in it: losing it costs nothing but hearing old news once more.
"""

import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bridge.client import Notified
from bridge.daemon.journal.schema import AS_ITS_USER, BUSY_TIMEOUT_S, unusable_state
from bridge.errors import JournalError

STORE_FILE = "notifications.db"

TABLES = """
    CREATE TABLE IF NOT EXISTS seen (
        id TEXT PRIMARY KEY,
        sequence TEXT NOT NULL,
        topic TEXT NOT NULL,
        kind TEXT NOT NULL,
        message TEXT NOT NULL,
        created_s REAL NOT NULL,
        seen_s REAL NOT NULL
    );
    CREATE TABLE IF NOT EXISTS asked (
        sequence TEXT NOT NULL,
        topic TEXT NOT NULL,
        at_s REAL NOT NULL,
        PRIMARY KEY (sequence, topic)
    );
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something to ask the platform about: a sequence, or one of its topics.

    Attributes:
        sequence: Name of the sequence.
        topic: Name of the topic with its leading slash; empty for the sequence itself.
    """

    sequence: str
    topic: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notification as it is remembered.

    Attributes:
        id: Identifies it: the same words at the same time about the same thing are the same.
        target: What it is about.
        kind: Its type on the platform.
        message: Its words.
        created_s: When the platform says it was made, Unix seconds.
        seen_s: When we first saw it, Unix seconds.
    """

    id: str
    target: Target
    kind: str
    message: str
    created_s: float
    seen_s: float

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "id": self.id,
            "sequence": self.target.sequence,
            "topic": self.target.topic,
            "type": self.kind,
            "message": self.message,
            "at": self.created_s,
            "seen_at": self.seen_s,
        }


class NotificationStore:
    """The database; a context manager. One lock guards the connection, so any thread may ask."""

    def __init__(self, folder: Path) -> None:
        """Open the database of a state folder, making it if missing.

        Raises:
            JournalError: It cannot be opened.
        """
        self._lock = threading.Lock()
        self._file = folder / STORE_FILE
        with _translated(self._file):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unusable_state(folder, error) from error
            self._connection = sqlite3.connect(
                self._file,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                # Of two who set the mode at once one fails; who opens it next can.
                with contextlib.suppress(sqlite3.OperationalError):
                    self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.executescript(TABLES)
            except sqlite3.Error:
                self._connection.close()
                raise

    def close(self) -> None:
        """Release the file; may be called again."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def remember(self, listed: Iterable[Notified], *, now_s: float) -> list[Notice]:
        """Keep notifications; give those that are new.

        Raises:
            JournalError: The database cannot be written.
        """
        notices = [_notice(one, now_s) for one in listed]
        with self._lock, _translated(self._file):
            fresh = []
            for notice in notices:
                cursor = self._connection.execute(
                    "INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        notice.id, notice.target.sequence, notice.target.topic, notice.kind,
                        notice.message, notice.created_s, notice.seen_s,
                    ),
                )  # fmt: skip
                if cursor.rowcount:
                    fresh.append(notice)
            return fresh

    def latest(self, limit: int) -> list[Notice]:
        """List notifications, the latest created first.

        Raises:
            JournalError: The database cannot be read.
        """
        with self._lock, _translated(self._file):
            rows = self._connection.execute(
                "SELECT id, sequence, topic, kind, message, created_s, seen_s FROM seen"
                " ORDER BY created_s DESC, id LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            Notice(
                id=row[0], target=Target(sequence=row[1], topic=row[2]), kind=row[3],
                message=row[4], created_s=row[5], seen_s=row[6],
            )
            for row in rows
        ]  # fmt: skip

    def forget(self, target: Target) -> int:
        """Take the notifications about one thing out, after they were cleared on the platform.

        Raises:
            JournalError: The database cannot be written.
        """
        with self._lock, _translated(self._file):
            cursor = self._connection.execute(
                "DELETE FROM seen WHERE sequence = ? AND topic = ?",
                (target.sequence, target.topic),
            )
        return cursor.rowcount

    def asked(self) -> dict[Target, float]:
        """Tell when each thing was last asked about, Unix seconds.

        Raises:
            JournalError: The database cannot be read.
        """
        with self._lock, _translated(self._file):
            rows = self._connection.execute("SELECT sequence, topic, at_s FROM asked").fetchall()
        return {Target(sequence=row[0], topic=row[1]): row[2] for row in rows}

    def note_asked(self, target: Target, *, now_s: float) -> None:
        """Remember that something was asked about just now.

        Raises:
            JournalError: The database cannot be written.
        """
        with self._lock, _translated(self._file):
            self._connection.execute(
                "INSERT OR REPLACE INTO asked VALUES (?, ?, ?)",
                (target.sequence, target.topic, now_s),
            )

    def prune(self, *, keep: Iterable[str], before_s: float) -> None:
        """Forget sequences that are asked about no more, and their notices seen before a time.

        Args:
            keep: Names of the sequences that are still asked about.
            before_s: Unix seconds.

        Raises:
            JournalError: The database cannot be written.
        """
        kept = set(keep)
        with self._lock, _translated(self._file):
            known = self._connection.execute(
                "SELECT sequence FROM asked UNION SELECT sequence FROM seen"
            ).fetchall()
            for (sequence,) in known:
                if sequence not in kept:
                    self._connection.execute("DELETE FROM asked WHERE sequence = ?", (sequence,))
                    self._connection.execute(
                        "DELETE FROM seen WHERE sequence = ? AND seen_s < ?", (sequence, before_s)
                    )


def _notice(listed: Notified, now_s: float) -> Notice:
    target = Target(sequence=listed.sequence_name, topic=listed.topic_name or "")
    created_s = listed.created_datetime.timestamp()
    facts = (target.sequence, target.topic, str(listed.notify_type), listed.message, str(created_s))
    digest = hashlib.sha256("\0".join(facts).encode("utf-8", "backslashreplace")).hexdigest()
    return Notice(
        id=digest[:32],
        target=target,
        kind=str(listed.notify_type),
        message=listed.message.encode("utf-8", "replace").decode(),
        created_s=created_s,
        seen_s=now_s,
    )


@contextlib.contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        hint = "is the disk of state.folder full? the file may be deleted while nothing runs"
        closed = file.exists() and not (
            os.access(file, os.R_OK | os.W_OK) and os.access(file.parent, os.W_OK)
        )
        raise JournalError(
            f"the notifications' database {file.absolute()} cannot be used: {error}",
            hint=AS_ITS_USER if closed else hint,
        ) from error
