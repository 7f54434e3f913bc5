"""The durable record of every recording's state: what is known, what happened, what was asked.

One daemon owns a journal (by lock) and alone moves entries; any process may read it and leave
requests. Every change of state is checked against the table of `states`, written with time and
reason, and durable before it is reported.
"""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from bridge.daemon.journal.entry import Entry, Failure, RequestKind, Transition
from bridge.daemon.journal.schema import LockedError, connect, take_lock
from bridge.daemon.journal.states import AT_REST, IN_WORK, State, allowed
from bridge.daemon.journal.view import JournalView, printable, translated
from bridge.errors import JournalError
from bridge.ingest import OpenUpload
from bridge.model import Part

Answer = TypeVar("Answer")

OnChange = Callable[[Entry, Transition], None]

# What `move` and `note` may set beside state and reason.
CHANGEABLE = frozenset(
    {
        "fingerprint", "path", "name", "size_bytes", "modified_ns", "attempts", "interruptions",
        "deaths", "due_ns", "salvage", "sequence", "verification", "messages_sent", "failure",
        "supersedes", "duplicate_of", "reason", "upload", "resend",
        "findings",
    }
)  # fmt: skip


class Journal(JournalView):
    """An open journal; use `own` in the daemon and `read` everywhere else. A context manager.

    All methods may be called from any thread; one lock guards the connection.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        lock: int | None,
        wall_ns: Callable[[], int],
        on_change: OnChange,
        aside: Path | None = None,
    ) -> None:
        super().__init__(connection)
        # Where a journal is that could not be used, so that this one was begun.
        self.aside = aside
        self.lock = lock
        self._wall_ns = wall_ns
        self._on_change = on_change
        self._depth = 0
        self._news: list[tuple[Entry, Transition]] = []

    @classmethod
    def own(
        cls,
        folder: Path,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        on_change: OnChange = lambda _entry, _transition: None,
        patience_s: float = 5.0,
    ) -> Self:
        """Open the journal as its one owner, making it if missing.

        Args:
            folder: The state folder.
            wall_ns: The clock for stamps that people read.
            on_change: Called for every change of state once it is durable.
            patience_s: How long to wait for a dying predecessor to let go.

        Raises:
            JournalError: Another bridge owns it, or it cannot be opened.
        """
        lock = take_lock(folder, patience_s=patience_s)
        return cls._owned(folder, lock, wall_ns, on_change)

    @classmethod
    def own_if_free(cls, folder: Path) -> Self | None:
        """Open the journal as its owner, or give None while another process owns it."""
        try:
            lock = take_lock(folder, patience_s=0.0)
        except LockedError:
            return None
        return cls._owned(folder, lock, time.time_ns, lambda _entry, _transition: None)

    @classmethod
    def _owned(
        cls, folder: Path, lock: int, wall_ns: Callable[[], int], on_change: OnChange
    ) -> Self:
        try:
            connection, aside = connect(folder, create=True)
        except BaseException:
            os.close(lock)
            raise
        return cls(connection, lock=lock, wall_ns=wall_ns, on_change=on_change, aside=aside)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Open the journal to look at it and to leave requests.

        Raises:
            JournalError: There is none, or it cannot be opened.
        """
        connection, _ = connect(folder, create=False)
        return cls(
            connection, lock=None, wall_ns=time.time_ns, on_change=lambda _entry, _transition: None
        )

    def close(self) -> None:
        """Release the file and, for the owner, the lock; idempotent."""
        with self._guard:
            self._connection.close()
            if self.lock is not None:
                os.close(self.lock)
                self.lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside durable at once, or not at all; may be nested."""
        with self._guard, translated():
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._news.clear()
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._commit()

    def discover(
        self,
        path: Path,
        *,
        name: str,
        size_bytes: int,
        modified_ns: int,
        priority: int = 0,
        split_of: str = "",
        split_index: int | None = None,
        supersedes: int | None = None,
    ) -> Entry:
        """Enter a recording that was not there before.

        Args:
            path: Where it is.
            name: The recording's name.
            size_bytes: Size of its files.
            modified_ns: Newest modification time of its files.
            priority: Its place by the settings' patterns.
            split_of: Name of the recording that it is one split of; empty for a whole one.
            split_index: The recorder's number for the split.
            supersedes: The recording that was at the path until it changed; None where nothing was.
        """
        now = self._wall_ns()
        with self.transaction():
            cursor = self._connection.execute(
                "INSERT INTO entries (path, name, state, reason, size_bytes, modified_ns, priority,"
                " discovered_ns, changed_ns, supersedes, split_of, split_index)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    os.fsencode(path), printable(name), State.DISCOVERED, "seen by a scan",
                    size_bytes, modified_ns, priority, now, now, supersedes,
                    printable(split_of), split_index,
                ),
            )  # fmt: skip
            assert cursor.lastrowid is not None
            self._tell(cursor.lastrowid, None, State.DISCOVERED, "seen by a scan", now)
            entry = self.get(cursor.lastrowid)
        assert entry is not None
        return entry

    def move(self, entry_id: int, after: State, reason: str, **changes: Any) -> Entry:
        """Bring a recording into another state. What has vanished is not seen anywhere any more.

        Args:
            entry_id: The recording.
            after: The new state; must be allowed after the present one.
            reason: Why, as a sentence.
            changes: Other fields of the entry that change with it.

        Raises:
            JournalError: The journal cannot be written; nothing has changed then.
        """
        now = self._wall_ns()
        with self.transaction():
            entry = self.get(entry_id)
            assert entry is not None, f"no entry {entry_id}"
            assert allowed(entry.state, after), f"{entry.state} -> {after} of {entry.path}"
            self._set(entry_id, {**changes, "reason": printable(reason)})
            self._connection.execute(
                "UPDATE entries SET state = ?, changed_ns = ? WHERE id = ?", (after, now, entry_id)
            )
            if after is State.VANISHED:
                # A folder that is moved away and back leaves its files as they looked: found
                # again, they must count as news.
                self._connection.execute("DELETE FROM sightings WHERE entry_id = ?", (entry_id,))
            self._tell(entry_id, entry.state, after, printable(reason), now)
            moved = self.get(entry_id)
        assert moved is not None
        return moved

    def note(self, entry_id: int, **changes: Any) -> None:
        """Change fields of an entry that stays in its state."""
        with self.transaction():
            self._set(entry_id, changes)

    def keep_parts(self, entry_id: int, parts: Sequence[Part]) -> None:
        """Remember which parts a recording has."""
        with self.transaction():
            self._connection.execute("DELETE FROM parts WHERE entry_id = ?", (entry_id,))
            self._connection.executemany(
                "INSERT INTO parts (entry_id, position, identity, name, size_bytes)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    (entry_id, position, part.identity, os.fsencode(part.name), part.size_bytes)
                    for position, part in enumerate(parts)
                ),
            )

    def sight(self, path: Path, *, entry_id: int, signature: str) -> None:
        """Remember what a scan saw at a path."""
        with self.transaction():
            self._connection.execute(
                "INSERT INTO sightings (path, entry_id, signature) VALUES (?, ?, ?)"
                " ON CONFLICT (path) DO UPDATE SET entry_id = excluded.entry_id,"
                " signature = excluded.signature",
                (os.fsencode(path), entry_id, signature),
            )

    def lose_sight(self, path: Path) -> None:
        """Forget what a scan saw at a path, because nothing is there any more."""
        with self.transaction():
            self._connection.execute("DELETE FROM sightings WHERE path = ?", (os.fsencode(path),))

    def keep_report(self, entry_id: int, report: Mapping[str, Any]) -> None:
        """Keep the report of an ingest."""
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO reports (entry_id, report) VALUES (?, ?)",
                (entry_id, json.dumps(report)),
            )

    def forget(self, entry_id: int) -> None:
        """Take a recording and its story out of the journal."""
        with self.transaction():
            self._connection.execute("DELETE FROM entries WHERE id = ?", (entry_id,))

    def relieve(self) -> None:
        """Give back what room the write-ahead log takes; for when the disk was full."""
        with self._guard, contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def recover(self) -> list[Entry]:
        """Put everything that was in work when the last owner died back into the queue."""
        with self.transaction():
            # Earlier versions kept sight of what had vanished, and so never took it again.
            self._connection.execute(
                "DELETE FROM sightings WHERE entry_id IN (SELECT id FROM entries WHERE state = ?)",
                (State.VANISHED,),
            )
        reason = "the bridge ended while this was in work"
        return [
            self.move(entry.id, State.READY, reason) for entry in self.recordings(states=IN_WORK)
        ]

    def prune(self, *, before_ns: int) -> list[Entry]:
        """Forget recordings at rest whose source is gone and that have not changed since a time."""
        old = [
            entry
            for entry in self._many(
                "WHERE changed_ns < ? AND id NOT IN (SELECT entry_id FROM sightings)", before_ns
            )
            if entry.state in AT_REST
        ]
        with self.transaction():
            for entry in old:
                self.forget(entry.id)
            self._connection.execute(
                "DELETE FROM requests WHERE answer != '' AND at_ns < ?", (before_ns,)
            )
        return old

    def ask(self, kind: RequestKind, entry_id: int) -> int:
        """Leave a request for the owner; returns its number."""
        with self.transaction():
            cursor = self._connection.execute(
                "INSERT INTO requests (kind, entry_id, at_ns) VALUES (?, ?, ?)",
                (kind, entry_id, self._wall_ns()),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def answer(self, request_id: int, answer: str) -> None:
        """Say what became of a request."""
        with self.transaction():
            self._connection.execute(
                "UPDATE requests SET answer = ? WHERE id = ?", (printable(answer), request_id)
            )

    # -- inside ----------------------------------------------------------------------------------

    def _set(self, entry_id: int, changes: Mapping[str, Any]) -> None:
        assert changes.keys() <= CHANGEABLE, f"not fields of an entry: {changes}"
        values = {name: _stored(value) for name, value in changes.items()}
        if values:
            assignments = ", ".join(f"{name} = :{name}" for name in values)
            self._connection.execute(
                f"UPDATE entries SET {assignments} WHERE id = :id",  # noqa: S608 - names checked
                {**values, "id": entry_id},
            )

    def _tell(
        self, entry_id: int, before: State | None, after: State, reason: str, at_ns: int
    ) -> None:
        self._connection.execute(
            "INSERT INTO transitions (entry_id, before, after, at_ns, reason)"
            " VALUES (?, ?, ?, ?, ?)",
            (entry_id, before, after, at_ns, reason),
        )
        entry = self.get(entry_id)
        assert entry is not None
        self._news.append(
            (
                entry,
                Transition(
                    entry_id=entry_id, before=before, after=after, at_ns=at_ns, reason=reason
                ),
            )
        )

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._news.clear()
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        news, self._news = self._news, []
        for entry, transition in news:
            self._on_change(entry, transition)


class JournalReader:
    """Reads the journal beside the daemon that owns it, from any thread, whenever it is there.

    It opens a connection of its own at the first question and again after trouble. The daemon makes
    the journal when it starts; until then, questions raise. The lock guards the connection, which
    is used by one question at a time.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare for the journal of a state folder, which need not exist yet."""
        self._folder = folder
        self._lock = threading.Lock()
        self._journal: Journal | None = None

    def ask(self, question: Callable[[Journal], Answer]) -> Answer:
        """Put a question to the journal.

        Raises:
            JournalError: There is no journal yet, or it cannot be read.
        """
        with self._lock:
            if self._journal is None:
                self._journal = Journal.read(self._folder)
            try:
                return question(self._journal)
            except JournalError:
                # The next question starts afresh: the file may have been replaced.
                self._journal.close()
                self._journal = None
                raise

    def close(self) -> None:
        """Release the connection; may be called again."""
        with self._lock:
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stored(value: Any) -> Any:
    if isinstance(value, Path):
        return os.fsencode(value)
    if isinstance(value, Failure | OpenUpload):
        return json.dumps(value.as_json())
    if isinstance(value, Mapping):
        return json.dumps(value)
    if isinstance(value, bool):
        return int(value)
    return printable(value) if isinstance(value, str) else value
