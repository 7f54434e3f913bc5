"""Walking an MCAP file's records without an index, and finding the way back after damage.

A scan turns a range of bytes into segments in file order: chunks, runs of messages, other records,
and what was lost. It reads heads only; chunks are not decompressed here.

Records that carry their own proof are held against it: a chunk and a message index have two lengths
that must agree, declarations must be filled by their fields exactly. A message proves nothing, so
when the way is lost behind a message, and records are found inside of what it claims to be its
payload, then its length lied and it is lost, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bridge.bags.mcap.records import (
    CHUNK_HEAD_BYTES_MAX,
    HEAD_BYTES,
    LAYOUTS,
    MAGIC,
    OPCODE_PRIVATE_MIN,
    Opcode,
    parse_chunk_head,
    parse_head,
)
from bridge.bags.mcap.resync import chunk_end, find_record, is_sound, leads_to, zeros_end
from bridge.bags.mcap.slicing import Bytes, slice_by_walk
from bridge.bags.mcap.summary import content_end
from bridge.bags.source import Source
from bridge.errors import DamagedRecordingError

STRIDE_BYTES = 1 << 16
"""How much is read at once where a record that is jumped over comes next."""

RUN_BYTES_MAX = 4 << 20
"""How much is read at once where messages follow each other outside of chunks."""

PADDING_BYTES_MAX = 1 << 10
"""How much a chunk that breaks off may have behind its records; with more, its length is wrong."""

ZEROS = "zeros where records should be"

KnownIds = Callable[[], NDArray[np.bool_]]
"""Gives bool, shape (65536,): which channel ids were declared so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkAt:
    """A chunk record and the message index records right behind it.

    Attributes:
        start: First byte of the chunk record.
        end: One past its last byte; for a torn chunk, where the bytes end.
        index_end: One past the last byte of its message indexes.
        torn: Whether the chunk breaks off before its own length.
        repaired: Whether its opcode or its own length is wrong, so that other evidence says where
            it is.
        joined_bytes_max: How much may be read at once of it and its neighbours: its records are
            known to lie there uncompressed. 0 where that is not known.
    """

    start: int
    end: int
    index_end: int
    torn: bool = False
    repaired: bool = False
    joined_bytes_max: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAt:
    """Messages and declarations outside of chunks, one behind the other.

    Attributes:
        start: First byte.
        end: One past the last byte.
        last: First byte of the last record.
    """

    start: int
    end: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAt:
    """A record that is neither message, declaration nor chunk."""

    opcode: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LostAt:
    """A range in which no record could be made out.

    Attributes:
        start: First byte.
        end: One past the last byte; the first where everything could be read, but not proven.
        reason: Why.
        zeros: Whether there is nothing but zeros: a hole where bytes never reached the disk, or
            where nothing was written.
    """

    start: int
    end: int
    reason: str
    zeros: bool = False


Segment = ChunkAt | RunAt | OtherAt | LostAt


def scan(source: Source, start: int, end: int, *, known: KnownIds) -> Iterator[Segment]:
    """Yield the segments of a range in file order; together they cover it.

    A segment is yielded once what follows it is known to be sound. Channels that are declared
    outside of chunks need not be among those that `known` gives.

    Args:
        source: The file.
        start: Where a record should start.
        end: Where the range ends.
        known: Which channel ids were declared so far.
    """
    declared = np.zeros(1 << 16, dtype=np.bool_)
    position = start
    while position < end:
        pending: Segment | None = None
        for record in _records(source, position, end):
            if not _is_believable(source, record, end):
                break
            if record.opcode == Opcode.CHANNEL:
                declared[int.from_bytes(source.read_at(record.start + HEAD_BYTES, 2), "little")] = 1
            joined = _join(pending, record)
            if joined is None:
                if pending is not None:
                    yield pending
                joined = _segment(record)
            pending = joined
            position = record.end
        if position < end and not _is_closing_magic(source, position, end):
            resume, pending, lost = _recover(
                source, position, end, pending=pending, known=known() | declared
            )
            if pending is not None:
                yield pending
            yield from lost
            position = resume
            continue
        if pending is not None:
            yield pending
        return


def _is_believable(source: Source, record: "_Record", end: int) -> bool:
    """Tell whether a record is what it seems to be."""
    unknown = record.opcode not in LAYOUTS and record.opcode != Opcode.MESSAGE
    if unknown and chunk_end(source, record.start, end) == record.end:
        # What is as long as a chunk says twice is one, whatever its opcode.
        return False
    return is_sound(source, record.opcode, record.start, record.end, end=end, reached=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """One record, or messages one behind the other, then with the start of the last."""

    opcode: int
    start: int
    end: int
    last: int


def _records(source: Source, start: int, end: int) -> Iterator[_Record]:
    """Yield records by their heads alone, up to the first that does not fit into the range."""
    position = start
    stride = STRIDE_BYTES
    while position + HEAD_BYTES <= end:
        data: Bytes = np.frombuffer(
            source.read_at(position, min(stride, end - position)), dtype=np.uint8
        )
        found = slice_by_walk(data, 0, len(data))
        if found.end:
            yield from _group(data, found.others, found.messages, found.end, base=position)
            position += found.end
            stride = RUN_BYTES_MAX if found.end > STRIDE_BYTES // 2 else STRIDE_BYTES
            continue
        # Not even the first record is whole in what was read.
        opcode, length = parse_head(data.data)
        following = position + HEAD_BYTES + length
        too_short = opcode == Opcode.MESSAGE and following <= position + len(data)
        if not opcode or too_short or following > end:
            return
        yield _Record(opcode=opcode, start=position, end=following, last=position)
        position = following
        stride = STRIDE_BYTES


def _group(
    data: Bytes,
    others: tuple[int, ...],
    messages: NDArray[np.int64],
    end: int,
    *,
    base: int,
) -> Iterator[_Record]:
    """Yield what a walk found in order, messages in runs."""
    position = 0
    for offset in (*others, end):
        if offset > position:
            last = int(messages[np.searchsorted(messages, offset) - 1])
            yield _Record(
                opcode=Opcode.MESSAGE, start=base + position, end=base + offset, last=base + last
            )
        if offset < end:
            opcode, length = parse_head(data.data, offset)
            position = offset + HEAD_BYTES + length
            yield _Record(
                opcode=opcode, start=base + offset, end=base + position, last=base + offset
            )


def _segment(record: _Record) -> Segment:
    match record.opcode:
        case Opcode.CHUNK:
            return ChunkAt(start=record.start, end=record.end, index_end=record.end)
        case Opcode.MESSAGE | Opcode.SCHEMA | Opcode.CHANNEL:
            return RunAt(start=record.start, end=record.end, last=record.last)
        case _:
            return OtherAt(opcode=record.opcode, start=record.start, end=record.end)


def _join(pending: Segment | None, record: _Record) -> Segment | None:
    """Make a message index part of the chunk before it, a message part of its run."""
    if isinstance(pending, ChunkAt) and record.opcode == Opcode.MESSAGE_INDEX:
        return replace(pending, index_end=record.end)
    if (
        isinstance(pending, RunAt)
        and record.opcode in {Opcode.MESSAGE, Opcode.SCHEMA, Opcode.CHANNEL}
        and record.end - pending.start <= RUN_BYTES_MAX
    ):
        return replace(pending, end=record.end, last=record.last)
    return None


def _recover(
    source: Source,
    position: int,
    end: int,
    *,
    pending: Segment | None,
    known: NDArray[np.bool_],
) -> tuple[int, Segment | None, list[Segment]]:
    """Decide what is lost at a position where no record starts, and where to go on.

    Returns:
        Where to go on, what is left of the segment before, and what is in between.
    """
    repaired_end = chunk_end(source, position, end)
    if repaired_end is not None:
        return (
            repaired_end,
            pending,
            [ChunkAt(start=position, end=repaired_end, index_end=repaired_end, repaired=True)],
        )
    if _is_torn_chunk(source, position, end):
        return end, pending, [ChunkAt(start=position, end=end, index_end=end, torn=True)]
    suspect = _suspect(pending, position)
    resume = find_record(source, suspect + 1, end, known=known)
    lost_from = position
    if resume is not None and resume < position:
        lost_from = suspect
        kept = isinstance(pending, RunAt) and pending.start < suspect
        pending = replace(pending, end=suspect) if isinstance(pending, RunAt) and kept else None
    reason = "the bytes are no record"
    if resume is None and _is_torn_record(source, position, end):
        reason = "the file ends inside a record"
    stop = end if resume is None else resume
    behind_zeros = zeros_end(source, lost_from, stop)
    if lost_from == position < behind_zeros < stop and leads_to(source, behind_zeros, stop):
        # Records that are not looked for, such as metadata, follow a hole.
        stop = behind_zeros
    if behind_zeros >= stop:
        lost = LostAt(start=lost_from, end=stop, reason=ZEROS, zeros=True)
    else:
        lost = LostAt(start=lost_from, end=stop, reason=reason)
    return stop, pending, [lost]


def _suspect(pending: Segment | None, position: int) -> int:
    """Name the record whose length may have led astray: the last one, unless it proves itself."""
    if isinstance(pending, RunAt):
        return pending.last
    if isinstance(pending, OtherAt) and pending.opcode not in LAYOUTS:
        return pending.start
    return position


def _is_closing_magic(source: Source, position: int, end: int) -> bool:
    return (
        end - position == len(MAGIC)
        and source.read_at(position, len(MAGIC)) == MAGIC
        and content_end(source) == end
    )


def _is_torn_chunk(source: Source, position: int, end: int) -> bool:
    """Tell whether a chunk starts here that agrees with itself but is longer than the range."""
    head = source.read_at(position, CHUNK_HEAD_BYTES_MAX)
    try:
        spare_bytes = parse_chunk_head(head).spare_bytes
    except DamagedRecordingError:
        return False
    return spare_bytes <= PADDING_BYTES_MAX and position + HEAD_BYTES + parse_head(head)[1] > end


def _is_torn_record(source: Source, position: int, end: int) -> bool:
    """Tell whether the bytes here could be a record that is longer than the range."""
    head = source.read_at(position, HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return True
    opcode, length = parse_head(head)
    known = 0 < opcode <= Opcode.DATA_END or opcode >= OPCODE_PRIVATE_MIN
    return known and position + HEAD_BYTES + length > end
