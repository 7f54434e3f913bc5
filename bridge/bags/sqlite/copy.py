"""Opening a sqlite3 storage file so that every committed row is seen and the source never touched.

A recorder that was killed leaves a write-ahead log or a rollback journal beside the database. Both
are part of the database: rows committed to the log exist nowhere else, and a hot journal says what
has to be undone. SQLite can only honour them by writing, so with such a sidecar the files are
copied into a private folder and opened there; without one the source itself is read, as immutable.

SQLite follows the link of a descriptor to a name before it opens it. So a file that has lost its
name since it was opened is copied, too: its name is nobody's, or another file's.
"""

import os
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bridge.bags.scratch import scratch_folder
from bridge.errors import RecordingChangedError, RecordingVanishedError, ScratchSpaceError
from bridge.files import open_regular, version_of

SIDECARS = ("-wal", "-journal")

TROUBLE = (sqlite3.Error, UnicodeError)
"""The errors of a damaged database: SQLite's messages may quote bytes that are no text."""

_COPY_BYTES = 1 << 20


@dataclass(slots=True, kw_only=True)
class Database:
    """An open sqlite3 file, its descriptor for reading bytes, and what to clean up.

    Attributes:
        connection: The connection; it refuses writes.
        descriptor: The file that the connection reads, opened for reading; with a recovered
            sidecar that is the private copy.
        sidecars: The endings of the sidecars that were recovered; empty when the source is read.
    """

    connection: sqlite3.Connection
    descriptor: int
    sidecars: tuple[str, ...] = ()
    _cleanup: ExitStack = field(default_factory=ExitStack, repr=False)

    def close(self) -> None:
        """Close the connection and remove the private copy; idempotent."""
        self._cleanup.close()


def open_database(path: Path, *, scratch_dir: Path | None) -> Database:
    """Open a sqlite3 file for reading, through a private copy when it has sidecars.

    Args:
        path: The database; any bytes are allowed in its name.
        scratch_dir: Where private copies are made; None for the system's temporary folder.

    Raises:
        RecordingVanishedError: The file disappeared.
        RecordingChangedError: The file or a sidecar changed while it was copied.
        NotARecordingError: Not a regular file.
        ScratchSpaceError: The copy does not fit.
    """
    with ExitStack() as cleanup:
        source = open_regular(path)
        cleanup.callback(os.close, source)
        sidecars = _open_sidecars(path, cleanup)
        connection = None if sidecars else _connected(source)
        if connection is None:
            copy = _copy(path, source, sidecars, scratch_dir=scratch_dir, cleanup=cleanup)
            _recover(copy)
            source = open_regular(copy)
            cleanup.callback(os.close, source)
            connection = _connect(source)
        cleanup.callback(connection.close)
        connection.execute("PRAGMA query_only = ON")
        # A hostile schema must not run functions by being looked at.
        connection.execute("PRAGMA trusted_schema = OFF")
        return Database(
            connection=connection,
            descriptor=source,
            sidecars=tuple(sidecars),
            _cleanup=cleanup.pop_all(),
        )


def _connect(descriptor: int) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:/proc/self/fd/{descriptor}?mode=ro&immutable=1",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


def _connected(descriptor: int) -> sqlite3.Connection | None:
    """Connect to an open file; None where it has no name by which SQLite would find it."""
    if not _has_its_name(descriptor):
        return None
    try:
        connection = _connect(descriptor)
    except sqlite3.OperationalError:
        if _has_its_name(descriptor):
            raise
        return None
    if _has_its_name(descriptor):
        return connection
    # Perhaps another file had the name in that moment.
    connection.close()
    return None


def _has_its_name(descriptor: int) -> bool:
    """Whether the name that the kernel gives for an open file is that of this very file."""
    link = Path(f"/proc/self/fd/{descriptor}")
    try:
        return os.path.samestat(link.readlink().lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _open_sidecars(path: Path, cleanup: ExitStack) -> dict[str, int]:
    """Open the sidecars that hold anything, by ending."""
    found: dict[str, int] = {}
    for ending in SIDECARS:
        try:
            descriptor = open_regular(path.with_name(path.name + ending))
        except RecordingVanishedError:
            continue
        cleanup.callback(os.close, descriptor)
        if os.fstat(descriptor).st_size:
            found[ending] = descriptor
    return found


def _copy(
    path: Path,
    source: int,
    sidecars: dict[str, int],
    *,
    scratch_dir: Path | None,
    cleanup: ExitStack,
) -> Path:
    """Copy database and sidecars into a folder of their own; sidecars must keep their names."""
    parts = {"": source} | sidecars
    sizes = {ending: os.fstat(descriptor).st_size for ending, descriptor in parts.items()}
    # The log is copied and then written once more, into the database.
    needed_bytes = sum(sizes.values()) + sizes.get("-wal", 0)
    folder = cleanup.enter_context(scratch_folder(scratch_dir, needed_bytes=needed_bytes))
    before = {ending: version_of(descriptor) for ending, descriptor in parts.items()}
    for ending, descriptor in parts.items():
        with (folder / f"copy.db3{ending}").open("xb") as target:
            offset = 0
            while data := os.pread(descriptor, _COPY_BYTES, offset):
                target.write(data)
                offset += len(data)
    if before != {ending: version_of(descriptor) for ending, descriptor in parts.items()}:
        raise RecordingChangedError(
            "the database was written to while it was copied",
            path=path,
            hint="it is read again once its recorder has closed it",
        )
    return folder / "copy.db3"


def _recover(copy: Path) -> None:
    """Let SQLite roll back the journal or move the log into the copied database.

    Both work on pages, so that they succeed for a database whose content is damaged.
    """
    connection = sqlite3.connect(copy, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        for statement in ("SELECT count(*) FROM sqlite_master", "PRAGMA wal_checkpoint(TRUNCATE)"):
            try:
                connection.execute(statement).fetchone()
            except TROUBLE as error:
                if _is_damage(error):
                    continue
                raise ScratchSpaceError(
                    f"the copy of the database cannot be recovered: {error}",
                    folder=copy.parent.parent,
                    needed_bytes=copy.stat().st_size,
                ) from error
    finally:
        connection.close()


def _is_damage(error: Exception) -> bool:
    """Tell trouble with the content of a database from trouble with its file system."""
    codes = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
    return getattr(error, "sqlite_errorcode", 0) & 0xFF not in codes
