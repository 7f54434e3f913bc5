"""Walking the records of a ROS 1 bag from first to last, over damage where there is any.

No checksum guards a record, so a length is believed when something confirms it: another field, or
a valid record right behind. Where nothing does, the next record that can be found decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bridge.bags.rosbag1.decompress import COMPRESSIONS, decompress
from bridge.bags.rosbag1.records import ENTRY_BYTES, Op, Record, next_record, record_at
from bridge.bags.source import Source

_BESIDE_CHUNKS = frozenset({Op.INDEX, Op.CHUNK, Op.CHUNK_INFO})

ZEROS_BYTES = 1 << 20
"""How much is looked at once for bytes that are not zero."""

_LENGTH_BYTES = 4

COUNT_BYTES = 8
"""An entry of a chunk info record: connection, count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Bytes that belong to no valid record.

    Attributes:
        start: First byte.
        end: One past the last byte.
        reason: Why.
        zeros: Whether there is nothing but zeros.
    """

    start: int
    end: int
    reason: str
    zeros: bool = False


def walk(
    source: Source, start: int, stop: int, *, chunk_bytes_max: int = 0
) -> Iterator[Record | Gap]:
    """Yield the records between two positions in order, and the gaps between them.

    A chunk whose data is cut, by the end of the file or by the next record, is yielded with what
    there is of it; any other record is yielded whole or is part of a gap.

    Args:
        source: The bytes.
        start: Where the first record starts.
        stop: Where the last one ends.
        chunk_bytes_max: How big a chunk may be to be decompressed where nothing else can tell
            whether its length is right; 0 inside a chunk, where there are none.
    """
    position = start
    ahead: Record | None = None
    while position < stop:
        record = ahead or record_at(source, position, stop)
        ahead = None
        piece: Record | Gap
        if record is None:
            piece = _gap(source, position, stop)
        elif record.op is Op.CHUNK and not chunk_bytes_max:
            # A chunk inside a chunk is one that a wrong length has swallowed: only its header goes.
            piece = Gap(start=position, end=record.data_start, reason="chunk inside a chunk")
        else:
            ahead = record_at(source, record.end, stop) if record.end < stop else None
            followed = ahead is not None or record.end == stop
            # A length that the record says twice is believed before a hole, too.
            followed = followed or (_agrees(record) is True and _is_before_hole(source, record.end))
            piece = _checked(source, record, stop, followed, chunk_bytes_max)
        yield piece
        position = piece.end
        if ahead is not None and ahead.start != position:
            ahead = None


def _gap(source: Source, start: int, stop: int) -> Gap:
    """Give up on the bytes from here to the next record."""
    found = next_record(source, start + 1, stop)
    end = stop if found is None else found.start
    return Gap(start=start, end=end, reason="no valid record", zeros=_is_zeros(source, start, end))


def _is_zeros(source: Source, start: int, end: int) -> bool:
    """Tell whether a range holds nothing but zeros; reads up to the first byte that is none."""
    return all(
        not any(source.read_at(at, min(ZEROS_BYTES, end - at)))
        for at in range(start, end, ZEROS_BYTES)
    )


def _is_before_hole(source: Source, position: int) -> bool:
    """Tell whether zeros follow, at least as many as the length of a record takes."""
    return source.read_at(position, _LENGTH_BYTES) == bytes(_LENGTH_BYTES)


def _checked(
    source: Source,
    record: Record,
    stop: int,
    followed: bool,  # noqa: FBT001 (private)
    chunk_bytes_max: int,
) -> Record | Gap:
    """Believe the length of a record, or cut it where the next record starts."""
    # A count or a size in the header may be wrong; what follows the record proves its length.
    if not followed and (_agrees(record) is False or _is_plain_chunk(record)):
        # What an uncompressed chunk holds can be walked as well without it.
        return _gap(source, record.start, stop)
    if followed or (record.end < stop and _expands(source, record, chunk_bytes_max)):
        return record
    # Compressed data may hold messages to the letter; only a record that belongs beside a chunk
    # ends it.
    ops = _BESIDE_CHUNKS if record.op is Op.CHUNK else frozenset(Op)
    found = next_record(source, record.start + 1, stop, ops=ops)
    end = min(record.end, stop) if found is None else min(found.start, record.end)
    if end == record.end or (record.op is Op.CHUNK and end >= record.data_start):
        return replace(record, end=end)
    return Gap(start=record.start, end=end, reason="record is cut")


def _expands(source: Source, record: Record, chunk_bytes_max: int) -> bool:
    """Tell whether a compressed chunk gives just what its header says."""
    if record.op is not Op.CHUNK or record.text("compression") not in COMPRESSIONS:
        return False
    stored_bytes, size_bytes = record.end - record.data_start, record.number("size")
    if max(stored_bytes, size_bytes) > chunk_bytes_max:
        return False
    content = decompress(
        source.read_at(record.data_start, stored_bytes),
        compression=record.text("compression"),
        size_bytes=size_bytes,
        bytes_max=chunk_bytes_max,
    )
    return not content.reason and not content.contradictions


def _is_plain_chunk(record: Record) -> bool:
    return record.op is Op.CHUNK and record.fields["compression"] == b"none"


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
