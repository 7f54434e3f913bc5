"""The chunks of a ROS 1 bag one after another, and the messages of each as columns.

Where a chunk's index records propose offsets, those are proven in one go: the records they point at
must fill the chunk without gap or overlap. Where that fails, or nothing is proposed, the chunk is
walked record by record, over damage where there is any.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import ReadLimits
from bridge.bags.rosbag1.decompress import decompress
from bridge.bags.rosbag1.records import (
    ENTRY_BYTES,
    HEADER_BYTES_MAX,
    LENGTH_BYTES,
    Op,
    Record,
    fields_of,
    known_op,
    record_at,
)
from bridge.bags.rosbag1.walk import Gap, walk
from bridge.bags.source import BytesSource, Source
from bridge.model import Loss
from bridge.units import SECOND_NS

Integers = NDArray[np.int64]
"""int64, shape (n,): positions in a chunk, times or ids."""

LAYOUTS_MAX = 8
"""Ways of writing a message's header that are read in one go; a writer has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageColumns:
    """Messages of a chunk, of all connections.

    Attributes:
        connections: int64, shape (n,): the connection of each message.
        times_ns: int64, shape (n,): when it was recorded.
        starts: int64, shape (n,): first byte of its payload in the chunk.
        ends: int64, shape (n,): one past the last byte.
    """

    connections: Integers
    times_ns: Integers
    starts: Integers
    ends: Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What a chunk holds.

    Attributes:
        data: uint8, shape (m,): the chunk, decompressed.
        messages: Its messages.
        declared: Its connection records.
        gaps: Bytes of it that belong to no valid record.
    """

    data: NDArray[np.uint8]
    messages: MessageColumns
    declared: Sequence[Record]
    gaps: Sequence[Gap]


def read_chunk(data: bytes, proposed: Integers, *, path: Path) -> Chunk:
    """Find the records of a chunk.

    Args:
        data: The chunk, decompressed.
        proposed: Where its index says that messages are, in any order; may be empty or wrong.
        path: The file, for reports.

    Costs a few gathers over the proposed offsets; about 10 microseconds a record without them.
    """
    source = BytesSource(path, memoryview(data))
    array = np.frombuffer(data, dtype=np.uint8)
    proven = _proven(source, array, np.unique(proposed))
    if proven is not None:
        return proven
    records, gaps = _walked(source, np.unique(proposed))
    offsets = np.array([r.start for r in records if r.op is Op.MESSAGE], dtype=np.int64)
    messages = _columns(array, offsets)
    assert messages is not None, "what a walk finds are messages"
    return Chunk(
        data=array,
        messages=messages,
        declared=[record for record in records if record.op is Op.CONNECTION],
        gaps=gaps,
    )


def _proven(source: BytesSource, array: NDArray[np.uint8], starts: Integers) -> Chunk | None:
    """Take the chunk as its index describes it, or None where that does not hold to the byte."""
    size = len(array)
    if not len(starts) or starts[0] < 0 or starts[-1] > size - 2 * LENGTH_BYTES:
        return None
    lengths_at = starts + LENGTH_BYTES + _lengths(array, starts)
    if lengths_at.max() > size - LENGTH_BYTES:
        return None
    ends = lengths_at + LENGTH_BYTES + _lengths(array, lengths_at)
    # Between the messages there may be connection records, and nothing else.
    holes_start = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    holes_end = np.concatenate([starts, np.array([size], dtype=np.int64)])
    if (holes_start > holes_end).any():
        return None
    declared: list[Record] = []
    for hole in np.flatnonzero(holes_start < holes_end):
        for piece in walk(source, int(holes_start[hole]), int(holes_end[hole])):
            if isinstance(piece, Gap) or piece.op is not Op.CONNECTION:
                return None
            declared.append(piece)
    messages = _columns(array, starts)
    if messages is None:
        return None
    return Chunk(data=array, messages=messages, declared=declared, gaps=())


def _walked(source: BytesSource, indexed: Integers) -> tuple[list[Record], list[Gap]]:
    """Walk a chunk, starting again at each indexed message that is one."""
    known = set(indexed.tolist())
    valid = [start for start in sorted(known) if _is_message(source, start)]
    pieces: list[Record | Gap] = []
    for start, stop in zip([0, *valid], [*valid, source.size_bytes], strict=True):
        pieces += walk(source, start, stop)
    # With a whole index at hand, a length that ends where nothing begins is a wrong length.
    indexed_all = bool(known) and all(
        piece.start in known
        for piece in pieces
        if isinstance(piece, Record) and piece.op is Op.MESSAGE
    )
    records: list[Record] = []
    gaps: list[Gap] = []
    for piece, after in zip_longest(pieces, pieces[1:]):
        if isinstance(piece, Gap):
            gaps.append(piece)
        elif piece.op not in {Op.MESSAGE, Op.CONNECTION}:
            gaps.append(Gap(start=piece.start, end=piece.end, reason="record has no place here"))
        elif indexed_all and isinstance(after, Gap) and piece.end not in known:
            gaps.append(Gap(start=piece.start, end=piece.end, reason="length of record is wrong"))
        else:
            records.append(piece)
    return records, gaps


def _is_message(source: BytesSource, start: int) -> bool:
    record = record_at(source, start, source.size_bytes) if start >= 0 else None
    return record is not None and record.op is Op.MESSAGE


def _columns(array: NDArray[np.uint8], offsets: Integers) -> MessageColumns | None:
    """Read the headers of messages; None where one is no message's."""
    # Connection, seconds and nanoseconds of each message.
    values = np.zeros((len(offsets), 3), dtype=np.int64)
    lengths = _lengths(array, offsets)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        if length > HEADER_BYTES_MAX or not _read_headers(
            array, offsets, int(length), rows=rows, values=values
        ):
            return None
    lengths_at = offsets + LENGTH_BYTES + lengths
    starts = lengths_at + LENGTH_BYTES
    return MessageColumns(
        connections=values[:, 0],
        times_ns=values[:, 1] * SECOND_NS + values[:, 2],
        starts=starts,
        ends=starts + _lengths(array, lengths_at),
    )


def _read_headers(
    array: NDArray[np.uint8], offsets: Integers, length: int, *, rows: Integers, values: Integers
) -> bool:
    """Read the headers of some messages, all of one length; False where one is no message's.

    All headers that differ from the first in nothing but values are read in one go.
    """
    for turn in range(len(rows)):
        if not len(rows):
            break
        # A writer that lays out each header in another way is read one by one.
        several = rows if turn < LAYOUTS_MAX else rows[:1]
        headers = _gathered(array, offsets[several] + LENGTH_BYTES, length)
        places = _places(headers[0].tobytes())
        if places is None:
            return False
        conn_at, time_at = places
        alike = np.ones(length, dtype=bool)
        alike[conn_at : conn_at + 4] = False
        alike[time_at : time_at + 8] = False
        same = (headers[:, alike] == headers[0, alike]).all(axis=1)
        for column, at in enumerate((conn_at, time_at, time_at + 4)):
            values[several[same], column] = _numbers(headers[same, at : at + 4])
        rows = rows[~same] if turn < LAYOUTS_MAX else rows[1:]
    return True


def _places(header: bytes) -> tuple[int, int] | None:
    """Find connection and time in a message's header; None if it is no message's."""
    if known_op(fields_of(header)) is not Op.MESSAGE:
        return None
    position = 0
    found: dict[bytes, int] = {}
    while position < len(header):
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(header[position:start], "little")
        name = header[start:position].partition(b"=")[0]
        found[name] = start + len(name) + 1
    return found[b"conn"], found[b"time"]


def _gathered(array: NDArray[np.uint8], starts: Integers, size: int) -> NDArray[np.uint8]:
    """Copy `size` bytes from each position: uint8, shape (n, size)."""
    count = max(len(array) - size + 1, 0)
    windows: NDArray[np.void] = np.ndarray(
        (count,), dtype=f"V{size}", buffer=array if count else b"", strides=(1,)
    )
    return windows[starts].view(np.uint8).reshape(len(starts), size)


def _lengths(array: NDArray[np.uint8], positions: Integers) -> Integers:
    """Read the unsigned 32-bit numbers at positions."""
    return _numbers(_gathered(array, positions, LENGTH_BYTES))


def _numbers(columns: NDArray[np.uint8]) -> Integers:
    """Read each row of four bytes as an unsigned number."""
    return np.ascontiguousarray(columns).view("<u4")[:, 0].astype(np.int64)


STRAY_BYTES = 1 << 20
"""Bytes of records outside chunks that are handed over together."""


class ChunkReader:
    """Reads the chunks between two positions of a bag, decompressed; can do so more than once.

    Attributes:
        holes: The ranges of zeros that were met between records, in the last reading.
        contradictions: Counts the wrong claims of chunks, in the last reading.
        compressed: Whether a chunk was compressed.
        index_records: How many chunks the last reading met an index section's record of.
        chunk_records: How many chunks it met.

    Messages outside chunks, which only damage leaves there, are handed over as if they were chunks.
    """

    def __init__(self, source: Source, *, start: int, stop: int, limits: ReadLimits) -> None:
        self._source = source
        self._start = start
        self._stop = stop
        self._limits = limits
        self.holes: list[Gap] = []
        self.contradictions: Counter[str] = Counter()
        self.compressed = False
        self.index_records = 0
        self.chunk_records = 0

    def chunks(self, losses: list[Loss]) -> Iterator[Chunk]:
        """Yield the chunks in file order; holds one of them at a time.

        Args:
            losses: Where lost parts of the file are noted.
        """
        self.holes, self.contradictions = [], Counter()
        self.index_records = self.chunk_records = 0
        strays: list[Record] = []
        for piece, entries in self._indexed():
            stray = isinstance(piece, Record) and piece.op in {Op.MESSAGE, Op.CONNECTION}
            if isinstance(piece, Record) and stray:
                strays.append(piece)
            if strays and (not stray or piece.end - strays[0].start >= STRAY_BYTES):
                yield from self._strays(strays, losses)
                strays = []
            if isinstance(piece, Gap):
                if piece.zeros:
                    self.holes.append(piece)
                else:
                    self._lose(losses, piece.start, piece.end, piece.reason)
            elif piece.op is Op.CHUNK_INFO:
                self.index_records += 1
            elif piece.op is Op.CHUNK:
                self.chunk_records += 1
                yield from self._chunk(piece, entries, losses)
        if strays:
            yield from self._strays(strays, losses)

    def _indexed(self) -> Iterator[tuple[Record | Gap, list[NDArray[np.int64]]]]:
        """Yield what the walk finds, each with the offsets of the index records behind it."""
        held: Record | Gap | None = None
        entries: list[NDArray[np.int64]] = []
        chunk_bytes_max = self._limits.chunk_bytes_max
        for piece in walk(self._source, self._start, self._stop, chunk_bytes_max=chunk_bytes_max):
            if isinstance(piece, Record) and piece.op is Op.INDEX:
                entries.append(self._offsets(piece))
                continue
            if held is not None:
                yield held, entries
            held, entries = piece, []
        if held is not None:
            yield held, entries

    def _offsets(self, record: Record) -> NDArray[np.int64]:
        """Read the offsets of an index record, however many it says that it has."""
        if record.end - record.data_start > self._limits.chunk_bytes_max:
            return np.zeros(0, dtype=np.int64)
        data = self._source.read_at(record.data_start, record.end - record.data_start)
        data = data[: len(data) - len(data) % ENTRY_BYTES]
        rows = np.frombuffer(data, dtype="<u4").reshape(-1, ENTRY_BYTES // 4)
        return rows[:, 2].astype(np.int64)

    def _chunk(
        self, record: Record, entries: list[NDArray[np.int64]], losses: list[Loss]
    ) -> Iterator[Chunk]:
        """Decompress a chunk and find its records."""
        compression = record.text("compression")
        stored_bytes = record.end - record.data_start
        bytes_max = self._limits.chunk_bytes_max
        if stored_bytes > bytes_max:
            reason = f"a chunk of {stored_bytes} bytes is over reading.chunk_bytes_max"
            self._lose(losses, record.start, record.end, reason)
            return
        stored = self._source.read_at(record.data_start, stored_bytes)
        content = decompress(
            stored,
            compression=compression,
            size_bytes=record.number("size"),
            bytes_max=bytes_max,
        )
        data, reason = content.data, content.reason
        self.compressed |= compression != "none"
        self.contradictions.update(content.contradictions)
        if reason and len(data) == bytes_max:
            reason = f"a chunk of more than {bytes_max} bytes is over reading.chunk_bytes_max"
            self._lose(losses, record.start, record.end, reason)
            return
        proposed = np.concatenate([np.zeros(0, dtype=np.int64), *entries])
        chunk = read_chunk(data, proposed, path=self._source.path)
        if compression == "none":
            for gap in chunk.gaps:
                shift = record.data_start
                self._lose(losses, shift + gap.start, shift + gap.end, gap.reason)
            if reason and not chunk.gaps:
                self._lose(losses, record.end, record.end, reason)
        elif reason:
            self._lose(losses, record.data_start, record.end, f"{reason}; {len(data)} bytes kept")
        elif chunk.gaps:
            lost = sum(gap.end - gap.start for gap in chunk.gaps)
            reason = f"{lost} of {len(data)} decompressed bytes belong to no valid record"
            self._lose(losses, record.data_start, record.end, reason)
        yield chunk

    def _strays(self, records: list[Record], losses: list[Loss]) -> Iterator[Chunk]:
        """Hand over records outside chunks as one chunk."""
        start, end = records[0].start, records[-1].end
        if end - start > self._limits.chunk_bytes_max:
            self._lose(
                losses, start, end, "a record outside chunks is over reading.chunk_bytes_max"
            )
            return
        data = self._source.read_at(start, end - start)
        offsets = [record.start - start for record in records if record.op is Op.MESSAGE]
        yield read_chunk(data, np.array(offsets, dtype=np.int64), path=self._source.path)

    def _lose(self, losses: list[Loss], start: int, end: int, reason: str) -> None:
        losses.append(
            Loss(
                path=self._source.path,
                start_bytes=start,
                end_bytes=end,
                reason=reason,
                verifiable=False,
            )
        )
