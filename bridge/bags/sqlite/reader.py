"""Reading rosbag2's sqlite3 files (`.db3`), of every version, into blocks.

Rows come from SQLite one by one in order of their ids and leave as blocks of a few MiB. Where
SQLite gives up, the rest is salvaged from the pages themselves.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Self

from bridge.bags.container import (
    ZERO_TAIL,
    Channel,
    ChannelBlock,
    MixedChannels,
    ReadLimits,
    ReadTally,
)
from bridge.bags.sqlite.cells import Text
from bridge.bags.sqlite.copy import TROUBLE, Database, open_database
from bridge.bags.sqlite.pages import MAGIC, has_zero_tail, is_cut, is_outgrown
from bridge.bags.sqlite.rows import Row, RowBatch, SeenRows, blocks_of, fill
from bridge.bags.sqlite.salvage import CUT, salvaged_rows, salvaged_schema
from bridge.bags.sqlite.schema import (
    TABLES_DAMAGED,
    MessageTable,
    Schema,
    leniently,
    read_message_table,
    read_schema,
)
from bridge.errors import DamagedRecordingError, NotARecordingError, RecordingLimitError
from bridge.model import Loss, RecordingFile

# The length of a blob is in the header of its row: asking for it first keeps a payload over the
# limit from ever being built; the number that comes instead is what it is counted by.
ROWS = (
    "SELECT {rowid}, topic_id, timestamp,"
    " CASE WHEN length(data) <= ? THEN data ELSE length(data) END"
    " FROM messages{order}"
)

WRONG_NUMBERS = "an index or a header that counts other rows or pages than there are"
ONE_ID = "topics with the id of another one"

OUTGROWN = "the file has pages behind those that its header counts"
KEYED = "reading a table without row ids broke off; what is behind that cannot be told apart"

ROWID_MIN = -(2**63)


class SqliteReader:
    """One open `.db3` file; a `ContainerReader`."""

    repeated_ns = None

    def __init__(
        self,
        path: Path,
        *,
        database: Database,
        schema: Schema,
        table: MessageTable,
        limits: ReadLimits,
        damage: str = "",
    ) -> None:
        self._path = path
        self._database = database
        self._schema = schema
        self._table = table
        self._limits = limits
        self._tally = ReadTally()
        self._bytes_read = 0
        self._damage = damage
        self._outgrown = is_outgrown(database.descriptor)
        if has_zero_tail(database.descriptor):
            self._tally.contradictions[ZERO_TAIL] += 1
        if schema.doubled:
            self._tally.contradictions[ONE_ID] += schema.doubled
        self._healthy = not (damage or self._outgrown or database.sidecars or not schema.closed)
        database.connection.text_factory = Text

    @property
    def channels(self) -> Sequence[Channel]:
        """The topics in order of their ids.

        Without counts: there is no index by topic, so that counting means reading every leaf of the
        table, which for small messages is the file. The recorders' notes are no help: their totals
        are of the whole recording up to then, not of this file, and a wrong zero would leave a
        topic out.
        """
        return self._schema.channels

    @property
    def bytes_read(self) -> int:
        """Payload bytes that were yielded."""
        return self._bytes_read

    @property
    def tally(self) -> ReadTally:
        """What could not be read or was skipped so far."""
        return self._tally

    @property
    def misled(self) -> bool:
        """Never: nothing but the rows themselves decides what is read."""
        return False

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
        """Yield all messages in blocks of about 4 MiB: by row id, and salvaged ones by page."""
        seen = SeenRows(os.fstat(self._database.descriptor).st_size)
        if not self._damage:
            for batch in self._queried():
                seen.add_new(batch.rowids)
                yield from self._blocks_of(batch)
        if len(seen) and not self._table.rowid:
            # What was read has no ids by which salvage would know it. But the file was found sound.
            if self._damage or self._lacks_rows(len(seen)):
                self._lose_rest()
        elif self._damage or self._lacks_rows(len(seen)):
            read = len(seen)
            for batch in self._salvaged(seen):
                yield from self._blocks_of(batch)
            if self._damage or self._tally.losses or len(seen) > read:
                self._healthy = False
            else:
                self._tally.contradictions[WRONG_NUMBERS] += 1

    def _lose_rest(self) -> None:
        size_bytes = os.fstat(self._database.descriptor).st_size
        self._healthy = False
        self._tally.losses.append(
            Loss(
                path=self._path,
                start_bytes=0,
                end_bytes=size_bytes,
                reason=KEYED,
                verifiable=False,
            )
        )

    def _blocks_of(self, batch: RowBatch) -> Iterator[ChannelBlock]:
        for block in blocks_of(batch, schema=self._schema, tally=self._tally):
            self._bytes_read += int((block.ends - block.starts).sum())
            self._tally.unverified_messages += len(block.starts)
            yield block

    def _queried(self) -> Iterator[RowBatch]:
        """Read rows through SQLite, as far as it can."""
        try:
            rows = self._rows()
        except TROUBLE as error:
            self._damage = str(error)
            return
        batch = RowBatch(ROWID_MIN)
        more = True
        while more:
            batch = RowBatch(batch.last_rowid)
            try:
                more = self._fill(batch, rows)
            except TROUBLE as error:
                self._damage = str(error)
                more = False
            yield batch

    def _rows(self) -> Iterator[Row]:
        """Ask for the rows by rising id; rows that have none are counted, in order of their key."""
        rowid = self._table.rowid
        query = ROWS.format(rowid=rowid or "0", order=f" ORDER BY {rowid}" if rowid else "")
        rows = self._database.connection.execute(query, (self._limits.message_bytes_max,))
        if rowid:
            return rows
        return ((number, *row[1:]) for number, row in enumerate(rows, start=1))

    def _lacks_rows(self, found: int) -> bool:
        """Ask whether there is more in the file than SQLite gave.

        Its index of times is a tree of its own that knows every row. And a recorder that was killed
        while it wrote leaves pages behind the end that the header gives.
        """
        try:
            told = self._database.connection.execute("SELECT count(*) FROM messages").fetchone()
        except TROUBLE:
            return True
        return int(told[0]) != found or self._outgrown

    def _salvaged(self, seen: SeenRows) -> Iterator[RowBatch]:
        """Read the rows that SQLite did not give, page by page."""
        rows = salvaged_rows(
            self._database.descriptor,
            path=self._path,
            table=self._table,
            limits=self._limits,
            seen=seen,
            losses=self._tally.losses,
        )
        more = True
        while more:
            batch = RowBatch(ROWID_MIN)
            more = self._fill(batch, rows, rising=False)
            yield batch

    def _fill(self, batch: RowBatch, rows: Iterator[Row], *, rising: bool = True) -> bool:
        return fill(
            batch,
            rows,
            schema=self._schema,
            message_bytes_max=self._limits.message_bytes_max,
            tally=self._tally,
            rising=rising,
        )

    def mixed_blocks(self) -> Iterator[MixedChannels]:
        """Yield the same, each block of one channel."""
        return map(MixedChannels.of, self.blocks())

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
        DamagedRecordingError: The file is empty, or no topic can be found in it.
        RecordingLimitError: The file claims more than `limits` allow.
        RecordingVanishedError: The file disappeared.
        RecordingChangedError: The file was written to while it was copied.
        ScratchSpaceError: The private copy does not fit.
    """
    database = open_database(file.path, scratch_dir=scratch_dir)
    try:
        table = read_message_table(database.connection)
        schema, damage = _read_schema(database, file.path, table, limits)
    except BaseException:
        database.close()
        raise
    return SqliteReader(
        file.path, database=database, schema=schema, table=table, limits=limits, damage=damage
    )


def _read_schema(
    database: Database, path: Path, table: MessageTable, limits: ReadLimits
) -> tuple[Schema, str]:
    """Read the small tables through SQLite or, with the reason, from the pages themselves."""
    head = os.pread(database.descriptor, len(MAGIC), 0)
    if not head:
        raise DamagedRecordingError("the file is empty", path=path)
    damage = ""
    try:
        try:
            schema = _listed_schema(database, limits)
        except TROUBLE as error:
            damage = str(error)
            schema = salvaged_schema(database.descriptor, table=table, limits=limits)
            if not schema.channels:
                # Tables of other makers have other columns, and may be whole.
                with suppress(*TROUBLE), leniently(database.connection):
                    schema = read_schema(database.connection, limits=limits) or schema
    except (RecordingLimitError, NotARecordingError) as error:
        error.path = path
        raise
    if schema is None:
        raise NotARecordingError("a sqlite3 file, but not one of rosbag2's", path=path)
    if damage and not schema.channels:
        if not MAGIC.startswith(head):
            raise NotARecordingError("not a sqlite3 file", path=path)
        raise DamagedRecordingError(
            f"no topic can be found in the damaged database: {damage}", path=path
        )
    if not damage and not table.rowid and is_outgrown(database.descriptor):
        damage = OUTGROWN
    if not damage and not (schema.proven and table.rowid):
        damage = _structural_damage(database)
    return schema, damage


def _listed_schema(database: Database, limits: ReadLimits) -> Schema | None:
    """Read the small tables through SQLite; None where the file is another program's.

    Raises:
        sqlite3.DatabaseError: Bytes are missing, or the list of tables is damaged.
    """
    if is_cut(database.descriptor):
        raise sqlite3.DatabaseError(CUT)
    schema = read_schema(database.connection, limits=limits)
    if schema is None and _structural_damage(database):
        raise sqlite3.DatabaseError(TABLES_DAMAGED)
    return schema


def _structural_damage(database: Database) -> str:
    """Let SQLite check its trees, and return the first thing that is wrong with them.

    A whole reading of the file, at about 1 GB/s from memory. So it is left out where the recorder
    itself has noted that it closed the file.
    """
    try:
        (verdict,) = database.connection.execute("PRAGMA quick_check(1)").fetchone()
    except TROUBLE as error:
        return str(error)
    # Other verdicts are about values, and such rows are counted when they are read.
    return str(verdict) if str(verdict).startswith("***") else ""
