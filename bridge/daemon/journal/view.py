"""The reading half of the journal: entries, stories, reports, sightings, requests.

Safe from any thread of the process: one lock guards the connection.
"""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge.daemon.journal.entry import (
    Entry,
    Failure,
    Request,
    RequestKind,
    Sighting,
    Tally,
    Transition,
)
from bridge.daemon.journal.states import AT_REST, ON_PLATFORM, State
from bridge.errors import JournalError
from bridge.ingest import OpenUpload
from bridge.model import Part

COLUMNS = (
    "id, fingerprint, path, name, state, reason, size_bytes, modified_ns, priority, discovered_ns,"
    " changed_ns, attempts, interruptions, deaths, due_ns, salvage, sequence, verification,"
    " messages_sent, failure, supersedes, duplicate_of, upload, resend, split_of, split_index,"
    " findings"
)

# A recording that was broken off more often than this lets all others go first.
INTERRUPTIONS_MAX = 2
# After every time that SQLite can hold.
NEVER_NS = 2**63 - 1


class JournalView:
    """What can be read from an open journal."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._guard = threading.RLock()

    def get(self, entry_id: int) -> Entry | None:
        """Give one recording."""
        return self._one("WHERE id = ?", entry_id)

    def recordings(
        self,
        *,
        states: Collection[State] | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """List recordings, the last changed first.

        Args:
            states: Only those in one of these states.
            limit: At most so many.
        """
        where, values = _state_filter(states)
        most = -1 if limit is None else limit
        return self._many(f"{where} ORDER BY changed_ns DESC, id DESC LIMIT ?", *values, most)

    def browse(
        self,
        *,
        states: Collection[State] | None = None,
        text: str = "",
        queue_at_ns: int | None = None,
        limit: int,
        offset: int = 0,
    ) -> tuple[list[Entry], int]:
        """List one page of recordings, and how many there are on all pages.

        Args:
            states: Only those in one of these states.
            text: Only those with this in their name, path or sequence, whatever the case.
            queue_at_ns: Order them as they will go from this moment (Unix nanoseconds): what may
                be sent now, what is due later, what is not complete; else the last changed first.
            limit: At most so many.
            offset: Leave out so many at the start.
        """
        where, values = _state_filter(states)
        if text:
            where += " AND " if where else "WHERE "
            where += (
                "(instr(lower(name), lower(?)) OR instr(lower(CAST(path AS TEXT)), lower(?))"
                " OR instr(lower(sequence), lower(?)))"
            )
            values += [text] * 3
        order, moments = "changed_ns DESC, id DESC", []
        if queue_at_ns is not None:
            order = (
                "state NOT IN ('ready', 'waiting'), max(due_ns, ?), "
                f"interruptions > {INTERRUPTIONS_MAX}, priority, modified_ns, id"
            )
            moments = [queue_at_ns]
        found = self._many(
            f"{where} ORDER BY {order} LIMIT ? OFFSET ?", *values, *moments, limit, offset
        )
        (total,) = self._all(f"SELECT COUNT(*) FROM entries {where}", *values)[0]  # noqa: S608 - our own text
        return found, int(total)

    def arrived_in(self, folder: Path, *, levels: Collection[str]) -> list[tuple[int, int, int]]:
        """List what is finalised and was seen in a folder: id, since when, size in bytes.

        No more than that, because it is asked after every scan, of thousands.

        Args:
            folder: The folder, absolute.
            levels: Only what was verified at one of these.
        """
        prefix = os.fsencode(folder) + b"/"
        return self._all(
            "SELECT id, changed_ns, size_bytes FROM entries WHERE state = ?"  # noqa: S608 - our own text
            " AND substr(path, 1, ?) = ? AND id IN (SELECT entry_id FROM sightings)"
            f" AND verification IN ({', '.join('?' * len(levels))})"
            " ORDER BY changed_ns DESC, id DESC",
            State.FINALISED,
            len(prefix),
            prefix,
            *levels,
        )

    def quarantined_in(self, folder: Path) -> list[int]:
        """List what is quarantined and was seen in a folder, by id.

        Args:
            folder: The folder, absolute.
        """
        prefix = os.fsencode(folder) + b"/"
        rows = self._all(
            "SELECT id FROM entries WHERE state = ? AND substr(path, 1, ?) = ?"
            " AND id IN (SELECT entry_id FROM sightings) ORDER BY id",
            State.QUARANTINED,
            len(prefix),
            prefix,
        )
        return [entry_id for (entry_id,) in rows]

    def queue(
        self, state: State, *, limit: int, offset: int = 0, due_ns: int | None = None
    ) -> list[Entry]:
        """List what waits for a worker: the often interrupted last, else by priority and age.

        Args:
            state: `ready` or `waiting`.
            limit: At most so many.
            offset: Leave out so many at the start.
            due_ns: Only what is due at this time of day; None for all.
        """
        return self._many(
            f"WHERE state = ? AND due_ns <= ? ORDER BY interruptions > {INTERRUPTIONS_MAX},"
            " priority, modified_ns, id LIMIT ? OFFSET ?",
            state,
            NEVER_NS if due_ns is None else due_ns,
            limit,
            offset,
        )

    def folders_of_disposed_splits(self) -> set[Path]:
        """List the folders that splits were taken out of, without reading any recording."""
        rows = self._all(
            "SELECT path FROM entries WHERE split_of != '' AND state = ?", State.DISPOSED
        )
        return {Path(os.fsdecode(path)).parent for (path,) in rows}

    def find(self, path: Path) -> Entry | None:
        """Give the recording last seen at a path, the newest if several were there."""
        return self._one("WHERE path = ? ORDER BY id DESC LIMIT 1", os.fsencode(path))

    def at(self, path: Path) -> Entry | None:
        """Give the recording that scans have seen at a path, or the last that was there."""
        seen = self._one(
            "WHERE id = (SELECT entry_id FROM sightings WHERE path = ?)", os.fsencode(path)
        )
        return seen or self.find(path)

    def with_content(self, fingerprint: str) -> Entry | None:
        """Give the recording with this content."""
        return self._one("WHERE fingerprint = ? AND duplicate_of IS NULL", fingerprint)

    def parts(self, entry_id: int) -> tuple[Part, ...]:
        """List the parts of a recording as they were when it was identified, in their order.

        Of recordings of several files that were identified by a version that knew no parts only
        names and sizes are known; their identities are empty.
        """
        rows = self._all(
            "SELECT identity, name, size_bytes FROM parts WHERE entry_id = ? ORDER BY position",
            entry_id,
        )
        return tuple(
            Part(identity=identity, name=os.fsdecode(name), size_bytes=size_bytes)
            for identity, name, size_bytes in rows
        )

    def holders(self, part: Part, *, beside: Path) -> list[Entry]:
        """List the recordings on the platform that a part was sent with, the newest first.

        Args:
            part: The part.
            beside: The folder it is in. Where only names and sizes of an old recording's parts are
                known, those in its folder count.
        """
        by_content = self._many(
            "WHERE id IN (SELECT entry_id FROM parts WHERE identity = ?) ORDER BY id DESC",
            part.identity,
        )
        by_name = self._many(
            "WHERE id IN (SELECT entry_id FROM parts"
            " WHERE identity = '' AND name = ? AND size_bytes = ?) ORDER BY id DESC",
            os.fsencode(part.name),
            part.size_bytes,
        )
        near = [entry for entry in by_name if beside in {entry.path, entry.path.parent}]
        return [entry for entry in by_content + near if entry.state in ON_PLATFORM]

    def shares_parts(self, entry_id: int, others: Collection[int]) -> bool:
        """Say whether a recording has a part that one of some others has, too."""
        if not others:
            return False
        return bool(
            self._all(
                "SELECT 1 FROM parts JOIN parts AS other USING (identity)"  # noqa: S608 - our own text
                " WHERE parts.entry_id = ? AND identity != ''"
                f" AND other.entry_id IN ({', '.join('?' * len(others))}) LIMIT 1",
                entry_id,
                *others,
            )
        )

    def remains(self) -> list[Entry]:
        """List the recordings at rest that have left an unfinished upload on the platform."""
        where, values = _state_filter(AT_REST)
        # Asked at every turn of the loop: never by looking through all recordings.
        tail = f"INDEXED BY entries_with_upload {where} AND upload IS NOT NULL"
        return self._many(tail, *values)

    def vanished_with_copies(self) -> list[Entry]:
        """List the recordings that have vanished while the same content was seen elsewhere."""
        return self._many(
            "WHERE state = ? AND id IN"
            " (SELECT duplicate_of FROM entries WHERE duplicate_of IS NOT NULL)",
            State.VANISHED,
        )

    def duplicates(self, entry_id: int) -> list[Entry]:
        """List other places where the same content was seen."""
        return self._many("WHERE duplicate_of = ? ORDER BY id", entry_id)

    def predecessor(self, entry: Entry) -> Entry | None:
        """Give the recording on the platform whose place at its path this one has taken."""
        seen = {entry.id}
        older = entry
        while older.supersedes is not None and older.supersedes not in seen:
            seen.add(older.supersedes)
            found = self.get(older.supersedes)
            if found is None or found.path != entry.path:
                return None
            if found.state in ON_PLATFORM:
                return found
            older = found
        return None

    def named(self, name: str) -> list[Entry]:
        """List recordings by name, the newest first."""
        return self._many("WHERE name = ? ORDER BY id DESC", printable(name))

    def counts(self) -> dict[str, int]:
        """Count recordings by state; states without any are left out."""
        return dict(self._all("SELECT state, COUNT(*) FROM entries GROUP BY state"))

    def tallies(self, folders: Mapping[str, Path]) -> list[Tally]:
        """Count recordings by watched folder and state; what has none is left out.

        Args:
            folders: The watched folders by name; what is in none of them counts under "".
        """
        prefixes = [(os.fsencode(path) + b"/", name) for name, path in folders.items()]
        cases = "WHEN substr(path, 1, ?) = ? THEN ? " * len(prefixes)
        rows = self._all(
            f"SELECT {f'CASE {cases}ELSE ? END' if cases else '?'} AS folder, state, COUNT(*),"  # noqa: S608 - our own text
            " SUM(size_bytes), MIN(discovered_ns) FROM entries GROUP BY folder, state",
            *(value for prefix, name in prefixes for value in (len(prefix), prefix, name)),
            "",
        )
        return [
            Tally(
                folder=folder,
                state=State(state),
                recordings=recordings,
                size_bytes=size_bytes,
                oldest_found_ns=found_ns,
            )
            for folder, state, recordings, size_bytes, found_ns in rows
        ]

    def transitions(self, entry_id: int) -> list[Transition]:
        """List the transitions of a recording, first one first."""
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

    def sightings(self) -> dict[str, Sighting]:
        """Give everything that scans have seen, by path as text, which is much smaller."""
        rows = self._all("SELECT path, entry_id, signature FROM sightings")
        return {
            os.fsdecode(path): Sighting(entry_id=entry_id, signature=signature)
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

    def _all(self, statement: str, *values: Any) -> list[Any]:
        with self._guard, translated():
            return self._connection.execute(statement, values).fetchall()

    def _many(self, tail: str, *values: Any) -> list[Entry]:
        return [
            _entry(row)
            for row in self._all(f"SELECT {COLUMNS} FROM entries {tail}", *values)  # noqa: S608 - our own text
        ]

    def _one(self, tail: str, *values: Any) -> Entry | None:
        found = self._many(tail, *values)
        return found[0] if found else None


def _state_filter(states: Collection[State] | None) -> tuple[str, list[str]]:
    if states is None:
        return "", []
    return f"WHERE state IN ({', '.join('?' * len(states))})", [str(state) for state in states]


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
        priority=row[8],
        discovered_ns=row[9],
        changed_ns=row[10],
        attempts=row[11],
        interruptions=row[12],
        deaths=row[13],
        due_ns=row[14],
        salvage=bool(row[15]),
        sequence=row[16],
        verification=row[17],
        messages_sent=row[18],
        failure=None if row[19] is None else Failure.from_json(json.loads(row[19])),
        supersedes=row[20],
        duplicate_of=row[21],
        upload=None if row[22] is None else OpenUpload.from_json(json.loads(row[22])),
        resend=bool(row[23]),
        split_of=row[24],
        split_index=row[25],
        findings=row[26],
    )


def printable(text: str) -> str:
    """Replace what SQLite and UTF-8 cannot hold, such as the bytes of a foreign file name."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what the database raises into errors of our tree."""
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(
            f"the journal cannot be used: {error}",
            hint="is the disk of state.folder full or read-only?",
        ) from error
