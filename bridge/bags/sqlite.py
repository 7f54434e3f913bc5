"""Reading rosbag2's sqlite3 files (`.db3`), of every version, into blocks.

Rows come from SQLite one by one in order of their ids and leave as blocks of a few MiB.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

from bridge.bags.container import Channel, ChannelBlock, ReadLimits, ReadTally
from bridge.bags.sqlite_copy import Database, open_database
from bridge.bags.sqlite_rows import RowBatch, Text, blocks_of, fill
from bridge.bags.sqlite_schema import Schema, read_schema
from bridge.errors import DamagedRecordingError, NotARecordingError, RecordingLimitError
from bridge.model import RecordingFile

MAGIC = b"SQLite format 3\x00"

# The length of a blob stands in the header of its row: asking for it first keeps a payload over the
# limit from ever being built; the number that comes instead is what it is counted by.
ROWS = (
    "SELECT rowid, topic_id, timestamp,"
    " CASE WHEN length(data) <= ? THEN data ELSE length(data) END"
    " FROM messages ORDER BY rowid"
)

ROWID_MIN = -(2**63)


class SqliteReader:
    """One open `.db3` file; a `ContainerReader`."""

    def __init__(
        self, path: Path, *, database: Database, schema: Schema, limits: ReadLimits
    ) -> None:
        self._path = path
        self._database = database
        self._schema = schema
        self._limits = limits
        self._tally = ReadTally()
        self._healthy = schema.closed and not database.sidecars
        database.connection.text_factory = Text

    @property
    def channels(self) -> Sequence[Channel]:
        """The topics in order of their ids."""
        return self._schema.channels

    @property
    def tally(self) -> ReadTally:
        """What could not be read or was skipped so far."""
        return self._tally

    @property
    def metadata(self) -> Mapping[str, object]:
        """Layout version, distribution, and the recorder's own documents as YAML text."""
        return MappingProxyType(
            {
                "schema_version": self._schema.version,
                "ros_distro": self._schema.distro,
                "rosbag2": self._schema.notes,
                "recovered": self._database.sidecars,
            }
        )

    @property
    def healthy(self) -> bool:
        """Whether the recorder closed the file and nothing was found damaged so far."""
        return self._healthy

    def blocks(self) -> Iterator[ChannelBlock]:
        """Yield all messages in order of their row ids, in blocks of about 8 MiB.

        Raises:
            DamagedRecordingError: SQLite cannot read on.
        """
        connection = self._database.connection
        rows = connection.execute(ROWS, (self._limits.message_bytes_max,))
        last_rowid = ROWID_MIN
        more = True
        while more:
            batch = RowBatch(last_rowid)
            try:
                more = fill(
                    batch,
                    rows,
                    schema=self._schema,
                    message_bytes_max=self._limits.message_bytes_max,
                    tally=self._tally,
                )
            except sqlite3.Error as error:
                raise DamagedRecordingError(
                    f"the database is damaged: {error}", path=self._path
                ) from error
            yield from blocks_of(batch, schema=self._schema, tally=self._tally)
            last_rowid = batch.last_rowid

    def close(self) -> None:
        """Close the database and remove its private copy, if there was one; idempotent."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_sqlite3(
    file: RecordingFile, *, limits: ReadLimits, scratch_dir: Path | None = None
) -> SqliteReader:
    """Open a `.db3` file without touching it.

    Args:
        file: The file; not compressed.
        limits: What it may claim.
        scratch_dir: Where a private copy is made when a write-ahead log or a journal lies beside
            the file; None for the system's temporary folder.

    Raises:
        NotARecordingError: Not a sqlite3 file, or not one of rosbag2's.
        DamagedRecordingError: The tables that tell the topics cannot be read.
        RecordingLimitError: The file claims more than `limits` allow.
        RecordingVanishedError: The file disappeared.
        RecordingChangedError: The file was written to while it was copied.
        ScratchSpaceError: The private copy does not fit.
    """
    database = open_database(file.path, scratch_dir=scratch_dir)
    try:
        schema = _read_schema(database, file.path, limits)
    except BaseException:
        database.close()
        raise
    return SqliteReader(file.path, database=database, schema=schema, limits=limits)


def _read_schema(database: Database, path: Path, limits: ReadLimits) -> Schema:
    """Read the small tables of what may not be a database at all."""
    _check_magic(database.descriptor, path)
    try:
        schema = read_schema(database.connection, limits=limits)
    except sqlite3.Error as error:
        raise DamagedRecordingError(f"the database is damaged: {error}", path=path) from error
    except RecordingLimitError as error:
        error.path = path
        raise
    if schema is None:
        raise NotARecordingError("a sqlite3 file, but not one of rosbag2's", path=path)
    return schema


def _check_magic(descriptor: int, path: Path) -> None:
    """Tell an empty or foreign file from a database."""
    head = os.pread(descriptor, len(MAGIC), 0)
    if not head:
        raise DamagedRecordingError("the file is empty", path=path)
    if not MAGIC.startswith(head):
        raise NotARecordingError("not a sqlite3 file", path=path)
