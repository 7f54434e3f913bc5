"""Walking the records of a ROS 1 bag from first to last, over damage where there is any.

No checksum guards a record, so a length is believed when something confirms it: another field, or
a valid record right behind. Where nothing does, the next record that can be found decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bridge.bags.rosbag1_records import ENTRY_BYTES, Op, Record, next_record, record_at
from bridge.bags.source import Source

COUNT_BYTES = 8
"""An entry of a chunk info record: connection, count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Bytes that belong to no valid record."""

    start: int
    end: int
    reason: str


def walk(source: Source, start: int, stop: int) -> Iterator[Record | Gap]:
    """Yield the records between two positions in order, and the gaps between them.

    A chunk whose data is cut, by the end of the file or by the next record, is yielded with what
    there is of it; any other record is yielded whole or is part of a gap.
    """
    position = start
    while position < stop:
        record = record_at(source, position, stop)
        piece = _gap(source, position, stop) if record is None else _checked(source, record, stop)
        yield piece
        position = piece.end


def _gap(source: Source, start: int, stop: int, *, after: int | None = None) -> Gap:
    """Give up on what begins here, up to the next record after a position."""
    found = next_record(source, start + 1 if after is None else after, stop)
    return Gap(start=start, end=stop if found is None else found.start, reason="no valid record")


def _checked(source: Source, record: Record, stop: int) -> Record | Gap:
    """Believe the length of a record, or cut it where the next record begins."""
    agrees = _agrees(record)
    if agrees is True and record.end <= stop:
        return record
    if agrees is None and record.end <= stop and _record_or_end(source, record.end, stop):
        return record
    if agrees is False:
        return _gap(source, record.start, stop, after=record.data_start)
    found = None if agrees else next_record(source, record.data_start, stop)
    end = min(record.end, stop) if found is None else min(found.start, record.end)
    if record.op is Op.CHUNK or (end == record.end and record.end <= stop):
        return replace(record, end=end)
    return Gap(start=record.start, end=end, reason="record is cut")


def _agrees(record: Record) -> bool | None:
    """Compare the length of a record's data with what its header says; None if it says nothing."""
    length = record.end - record.data_start
    match record.op:
        case Op.INDEX:
            return length == record.number("count") * ENTRY_BYTES
        case Op.CHUNK_INFO:
            return length == record.number("count") * COUNT_BYTES
        case Op.CHUNK if record.fields["compression"] == b"none":
            return length == record.number("size")
        case _:
            return None


def _record_or_end(source: Source, position: int, stop: int) -> bool:
    return position == stop or record_at(source, position, stop) is not None
