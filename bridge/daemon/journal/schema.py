"""The journal's file: its tables, how they came to be, and who may open it.

Survives a kill and a power cut at any point: WAL with synchronous=FULL makes each commit durable
before it is reported. A file that is no sound database, or of an unknown version, is set aside, not
deleted; the metadata of the platform's sequences then says what is there already.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from pathlib import Path

from bridge.errors import JournalError
from bridge.files import sync_folder

JOURNAL_FILE = "journal.db"
AS_ITS_USER = "run the command as the bridge's user: sudo -u mosaico-bridge mosaico-bridge ..."
LOCK_FILE = "journal.lock"

# Each step brings the file from one version (its position) to the next; never edit, only append.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        fingerprint TEXT NOT NULL DEFAULT '',
        path BLOB NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        priority INTEGER NOT NULL DEFAULT 0,
        discovered_ns INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        interruptions INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        due_ns INTEGER NOT NULL DEFAULT 0,
        salvage INTEGER NOT NULL DEFAULT 0,
        sequence TEXT NOT NULL DEFAULT '',
        verification TEXT NOT NULL DEFAULT '',
        messages_sent INTEGER NOT NULL DEFAULT 0,
        failure TEXT,
        supersedes INTEGER,
        duplicate_of INTEGER
    );
    CREATE UNIQUE INDEX entries_by_content ON entries (fingerprint)
        WHERE fingerprint != '' AND duplicate_of IS NULL;
    CREATE INDEX entries_by_state ON entries (state, priority, modified_ns, id);
    CREATE INDEX entries_by_path ON entries (path);
    CREATE TABLE transitions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
        before TEXT,
        after TEXT NOT NULL,
        at_ns INTEGER NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE INDEX transitions_by_entry ON transitions (entry_id, id);
    CREATE TABLE reports (
        entry_id INTEGER PRIMARY KEY REFERENCES entries (id) ON DELETE CASCADE,
        report TEXT NOT NULL
    );
    CREATE TABLE sightings (
        path BLOB PRIMARY KEY,
        entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
        signature TEXT NOT NULL
    );
    CREATE INDEX sightings_by_entry ON sightings (entry_id);
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        entry_id INTEGER NOT NULL,
        at_ns INTEGER NOT NULL,
        answer TEXT NOT NULL DEFAULT ''
    );
    """,
    """
    ALTER TABLE entries ADD COLUMN upload TEXT;
    ALTER TABLE entries ADD COLUMN resend INTEGER NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE entries ADD COLUMN split_of TEXT NOT NULL DEFAULT '';
    ALTER TABLE entries ADD COLUMN split_index INTEGER;
    CREATE INDEX entries_by_name ON entries (name);
    CREATE INDEX entries_by_whole ON entries (split_of) WHERE split_of != '';
    """,
    """
    ALTER TABLE entries ADD COLUMN files TEXT NOT NULL DEFAULT '{}';
    """,
    """
    CREATE INDEX entries_with_upload ON entries (id) WHERE upload IS NOT NULL;
    """,
    # The part of a lone file has the fingerprint of its recording; those of recordings of several
    # files were not computed before, so that only names and sizes are known of them.
    """
    CREATE TABLE parts (
        entry_id INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        identity TEXT NOT NULL,
        name BLOB NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (entry_id, position)
    ) WITHOUT ROWID;
    CREATE INDEX parts_by_identity ON parts (identity) WHERE identity != '';
    CREATE INDEX parts_by_name ON parts (name, size_bytes) WHERE identity = '';
    INSERT INTO parts (entry_id, position, identity, name, size_bytes)
        SELECT entries.id, row_number() OVER (PARTITION BY entries.id ORDER BY file.id) - 1,
            iif(count(*) OVER (PARTITION BY entries.id) = 1, entries.fingerprint, ''),
            CAST(file.key AS BLOB), file.value
        FROM entries, json_each(entries.files) AS file;
    ALTER TABLE entries DROP COLUMN files;
    """,
    """
    ALTER TABLE entries ADD COLUMN findings TEXT NOT NULL DEFAULT '';
    """,
)

SET_ASIDE_HINT = (
    "a newer bridge wrote it: install that version again; this one would set it aside and begin a"
    " new one"
)
# Version 1 was written for some hours without this column. What later steps add goes by version.
FIRST_EDITION = """
    ALTER TABLE entries ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
    DROP INDEX entries_by_state;
    CREATE INDEX entries_by_state ON entries (state, priority, modified_ns, id);
"""

BUSY_TIMEOUT_S = 10.0

STATE_HINT = "the bridge's user needs to read and write state.folder, and its disk to work"

# A quarter of SQLite's default: about 1 MiB, since state folders may be small.
WAL_PAGES = 250


class LockedError(JournalError):
    """Another process owns the journal."""


def take_lock(folder: Path, *, patience_s: float) -> int:
    """Become the one bridge of a state folder.

    Workers inherit the lock, so a new daemon gets it only when the workers of a killed one are
    gone too: nobody finalises behind its back.

    Args:
        folder: The state folder; made if missing.
        patience_s: How long to wait for a dying predecessor.

    Returns:
        The open file that holds the lock; closing it (here and in all workers) gives it up.

    Raises:
        LockedError: Another bridge holds it.
        JournalError: The folder cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise unusable_state(folder, error) from error
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < give_up_at:
                time.sleep(0.05)
                continue
            os.close(lock)
            raise LockedError(
                f"another bridge is using the state folder {folder}",
                hint="one bridge per state.folder; stop the other one or choose another folder",
            ) from error
        return lock


def unusable_state(folder: Path, error: OSError) -> JournalError:
    """Give the error for a state folder that cannot be made or written."""
    taken = isinstance(error, FileExistsError | NotADirectoryError)
    why = "a file is in its place" if taken else error.strerror
    return JournalError(
        f"the state folder {folder.absolute()} cannot be made or written: {why}",
        hint="name one that this user may write: --state, or state.folder in the settings",
    )


def no_journal(folder: Path) -> JournalError:
    """Give the error for a state folder that no bridge has used."""
    if folder.is_dir():
        why = ""
    elif os.path.lexists(folder):
        why = ": the state folder is a file"
    else:
        why = ": there is no such folder"
    return JournalError(
        f"no journal at {folder.absolute() / JOURNAL_FILE}{why}",
        hint="has a bridge ever run with this state folder? name the one it uses with --state, "
        "or its settings with --config",
    )


def connect(folder: Path, *, create: bool) -> tuple[sqlite3.Connection, Path | None]:
    """Open the journal's database and bring it to the current version.

    Args:
        folder: The state folder.
        create: Make it if missing, and set it aside if it is broken or of an unknown version; else
            insist on a sound one.

    Returns:
        The connection, and where a journal that could not be used is now.

    Raises:
        JournalError: It is missing or cannot be opened; without `create`, also if it is broken or
            of another version.
    """
    path = folder / JOURNAL_FILE
    try:
        there = create or path.exists()
    except OSError as error:
        raise JournalError(
            f"the state folder {folder} cannot be read: {error.strerror}",
            hint=AS_ITS_USER,
        ) from error
    if not there:
        raise no_journal(folder)
    try:
        return _owned(path) if create else (_opened(path, migrate=False), None)
    except (sqlite3.DatabaseError, OSError) as error:
        ours = os.access(path, os.W_OK) and os.access(folder, os.W_OK)
        hint = STATE_HINT if ours else AS_ITS_USER
        raise JournalError(f"journal {path} cannot be opened: {error}", hint=hint) from error


def _owned(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """Open it for its one owner: made if missing, set aside and replaced if it is of no use.

    That costs little: what is on the platform says so itself.
    """
    if not path.exists():
        _make(path)
    try:
        return _opened(path, migrate=True), None
    except UnknownVersionError as error:
        aside = _set_aside(path, f"version-{error.version}")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        aside = _set_aside(path, "broken")
    _make(path)
    return _opened(path, migrate=True), aside


def _make(path: Path) -> None:
    """Make an empty journal beside its place and put it there whole.

    A reader meanwhile sees none, instead of one that is half made.
    """
    draft = path.with_name(f".{path.name}.tmp")
    # What a kill has left of a draft, and of a journal that somebody removed: SQLite would take
    # the log of another database for that of the new one.
    _, *logs = _files(path)
    for left in (*_files(draft), *logs):
        left.unlink(missing_ok=True)
    _opened(draft, migrate=True).close()
    draft.rename(path)
    sync_folder(path.parent)


def _files(path: Path) -> tuple[Path, Path, Path]:
    """Give a database's file, write-ahead log and index of that."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _opened(path: Path, *, migrate: bool) -> sqlite3.Connection:
    # Only the owner makes the file and sets its mode: of two who do so at once, one fails.
    mode = "rwc" if migrate else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if migrate:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        if migrate:
            _check(connection)
            _migrate(connection, path)
        else:
            _insist_on_current(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("quick_check found damage")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _insist_on_current(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise UnknownVersionError(path, version)
    if version != len(MIGRATIONS):
        raise JournalError(
            f"journal {path} has version {version}, not {len(MIGRATIONS)}",
            hint="start the bridge of this version once; it brings the journal up to date",
        )


class UnknownVersionError(JournalError):
    """A journal that a newer bridge has written, or none that we know."""

    def __init__(self, path: Path, version: int) -> None:
        newest = len(MIGRATIONS)
        super().__init__(
            f"journal {path} has the unknown version {version}; this bridge knows up to {newest}",
            hint=SET_ASIDE_HINT if version > newest else "",
        )
        self.version = version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    has_tables = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
    if not 0 <= version <= len(MIGRATIONS) or (version == 0 and has_tables):
        raise UnknownVersionError(path, version)
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(entries)")}
    if version == 1 and "priority" not in columns:
        connection.executescript(f"BEGIN IMMEDIATE; {FIRST_EDITION}; COMMIT")
    for step, script in enumerate(MIGRATIONS[version:], start=version + 1):
        # One transaction, so that a kill leaves the old version whole.
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {step}; COMMIT")


def _set_aside(path: Path, why: str) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    for source, target in zip(_files(path), _files(aside), strict=True):
        with contextlib.suppress(FileNotFoundError):
            source.rename(target)
    return aside
