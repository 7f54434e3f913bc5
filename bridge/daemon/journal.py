"""The durable record of every recording's state: what is known, what happened, what was asked.

One daemon owns a journal (by lock) and alone moves entries; any process may read it and leave
requests. Every change of state is checked against the table of `states`, written with time and
reason, and durable before anybody hears of it.
"""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bridge.daemon.entry import Entry, Failure, Request, RequestKind, Sighting, Transition
from bridge.daemon.schema import connect, take_lock
from bridge.daemon.states import AT_REST, IN_WORK, State, allowed
from bridge.errors import JournalError

OnChange = Callable[[Entry, Transition], None]

COLUMNS = (
    "id, fingerprint, path, name, state, reason, size_bytes, modified_ns, discovered_ns,"
    " changed_ns, attempts, interruptions, deaths, due_ns, salvage, sequence, verification,"
    " messages_sent, failure, supersedes, duplicate_of"
)

# What `move` and `note` may set beside state and reason.
CHANGEABLE = frozenset(
    {
        "fingerprint", "path", "name", "size_bytes", "modified_ns", "attempts", "interruptions",
        "deaths", "due_ns", "salvage", "sequence", "verification", "messages_sent", "failure",
        "supersedes", "duplicate_of", "reason",
    }
)  # fmt: skip


class Journal:
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
    ) -> None:
        self.lock = lock
        self._connection = connection
        self._wall_ns = wall_ns
        self._on_change = on_change
        self._guard = threading.RLock()
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
            on_change: Told of every change of state once it is durable.
            patience_s: How long to wait for a dying predecessor to let go.

        Raises:
            JournalError: Another bridge owns it, or it cannot be opened.
        """
        lock = take_lock(folder, patience_s=patience_s)
        try:
            connection = connect(folder, create=True)
        except BaseException:
            os.close(lock)
            raise
        return cls(connection, lock=lock, wall_ns=wall_ns, on_change=on_change)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Open the journal to look at it and to leave requests.

        Raises:
            JournalError: There is none, or it cannot be opened.
        """
        connection = connect(folder, create=False)
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- reading ---------------------------------------------------------------------------------

    def get(self, entry_id: int) -> Entry | None:
        """Give one recording."""
        return self._one("WHERE id = ?", entry_id)

    def recordings(
        self,
        *,
        states: Collection[State] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Entry]:
        """List recordings, the last changed first.

        Args:
            states: Only those in one of these states.
            limit: At most so many.
            offset: Leave out so many at the start.
        """
        where, values = _state_filter(states)
        return self._many(
            f"{where} ORDER BY changed_ns DESC, id DESC LIMIT ? OFFSET ?",
            *values,
            -1 if limit is None else limit,
            offset,
        )

    def queue(self) -> list[Entry]:
        """List what waits for a worker, in the order of taking: never interrupted, then oldest."""
        return self._many(
            "WHERE state IN ('ready', 'waiting') ORDER BY interruptions > 2, modified_ns, id"
        )

    def find(self, path: Path) -> Entry | None:
        """Give the recording last seen at a path, the newest if several were there."""
        return self._one("WHERE path = ? ORDER BY id DESC LIMIT 1", os.fsencode(path))

    def with_content(self, fingerprint: str) -> Entry | None:
        """Give the recording with this content."""
        return self._one("WHERE fingerprint = ? AND duplicate_of IS NULL", fingerprint)

    def duplicates(self, entry_id: int) -> list[Entry]:
        """List other places where the same content was seen."""
        return self._many("WHERE duplicate_of = ? ORDER BY id", entry_id)

    def counts(self) -> dict[str, int]:
        """Count recordings by state; states without any are left out."""
        return dict(self._all("SELECT state, COUNT(*) FROM entries GROUP BY state"))

    def transitions(self, entry_id: int) -> list[Transition]:
        """Tell a recording's story, first step first."""
        rows = self._all(
            "SELECT entry_id, before, after, at_ns, reason FROM transitions"
            " WHERE entry_id = ? ORDER BY id",
            entry_id,
        )
        return [
            Transition(
                entry_id=row[0],
                before=None if row[1] is None else State(row[1]),
                after=State(row[2]),
                at_ns=row[3],
                reason=row[4],
            )
            for row in rows
        ]

    def report(self, entry_id: int) -> dict[str, Any] | None:
        """Give the last ingest's report as plain JSON values."""
        rows = self._all("SELECT report FROM reports WHERE entry_id = ?", entry_id)
        return dict(json.loads(rows[0][0])) if rows else None

    def sightings(self) -> dict[Path, Sighting]:
        """Give everything that scans have seen, by path."""
        rows = self._all("SELECT path, entry_id, signature FROM sightings")
        return {
            Path(os.fsdecode(path)): Sighting(entry_id=entry_id, signature=signature)
            for path, entry_id, signature in rows
        }

    def requests(self, *, pending: bool = True) -> list[Request]:
        """List what people asked for, oldest first."""
        rows = self._all("SELECT id, kind, entry_id, at_ns, answer FROM requests ORDER BY id")
        return [
            Request(
                id=row[0], kind=RequestKind(row[1]), entry_id=row[2], at_ns=row[3], answer=row[4]
            )
            for row in rows
            if not (pending and row[4])
        ]

    # -- writing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside durable at once, or not at all; may be nested."""
        with self._guard, _translated():
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

    def discover(self, path: Path, *, name: str, size_bytes: int, modified_ns: int) -> Entry:
        """Enter a recording that was not there before.

        A recording that stood at the same path before is linked as superseded.
        """
        now = self._wall_ns()
        with self.transaction():
            older = self.find(path)
            cursor = self._connection.execute(
                "INSERT INTO entries (path, name, state, reason, size_bytes, modified_ns,"
                " discovered_ns, changed_ns, supersedes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    os.fsencode(path), printable(name), State.DISCOVERED, "seen by a scan",
                    size_bytes, modified_ns, now, now, older.id if older else None,
                ),
            )  # fmt: skip
            assert cursor.lastrowid is not None
            self._tell(cursor.lastrowid, None, State.DISCOVERED, "seen by a scan", now)
            entry = self.get(cursor.lastrowid)
        assert entry is not None
        return entry

    def move(self, entry_id: int, after: State, reason: str, **changes: Any) -> Entry:
        """Bring a recording into another state.

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
            self._tell(entry_id, entry.state, after, printable(reason), now)
            moved = self.get(entry_id)
        assert moved is not None
        return moved

    def note(self, entry_id: int, **changes: Any) -> None:
        """Change fields of an entry that stays in its state."""
        with self.transaction():
            self._set(entry_id, changes)

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

    def recover(self) -> list[Entry]:
        """Put everything that was in work when the last owner died back into the queue."""
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

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with self._guard, _translated():
            return self._connection.execute(statement, values).fetchall()

    def _many(self, tail: str, *values: Any) -> list[Entry]:
        return [
            _entry(row)
            for row in self._all(f"SELECT {COLUMNS} FROM entries {tail}", *values)  # noqa: S608 - our own text
        ]

    def _one(self, tail: str, *values: Any) -> Entry | None:
        found = self._many(tail, *values)
        return found[0] if found else None


def printable(text: str) -> str:
    """Replace what SQLite and UTF-8 cannot hold, such as the bytes of a foreign file name."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _state_filter(states: Collection[State] | None) -> tuple[str, list[str]]:
    if states is None:
        return "", []
    return f"WHERE state IN ({', '.join('?' * len(states))})", [str(state) for state in states]


def _stored(value: Any) -> Any:
    if isinstance(value, Path):
        return os.fsencode(value)
    if isinstance(value, Failure):
        return json.dumps(value.as_json())
    if isinstance(value, bool):
        return int(value)
    return printable(value) if isinstance(value, str) else value


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(
        id=row[0],
        fingerprint=row[1],
        path=Path(os.fsdecode(row[2])),
        name=row[3],
        state=State(row[4]),
        reason=row[5],
        size_bytes=row[6],
        modified_ns=row[7],
        discovered_ns=row[8],
        changed_ns=row[9],
        attempts=row[10],
        interruptions=row[11],
        deaths=row[12],
        due_ns=row[13],
        salvage=bool(row[14]),
        sequence=row[15],
        verification=row[16],
        messages_sent=row[17],
        failure=None if row[18] is None else Failure.from_json(json.loads(row[18])),
        supersedes=row[19],
        duplicate_of=row[20],
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(
            f"the journal cannot be used: {error}",
            hint="is the disk of state.folder full or read-only?",
        ) from error
