"""Finding the records in a piece of MCAP held in memory, with arrays wherever possible.

A message index says where messages start; everything else about a message is read from its own
head, so that a lying index cannot alter anything. Offsets are believed when the messages they
point to, and what lies between them, fill the piece without gap or overlap. Where there is no
index, or it lies, the records are walked one head at a time: the one loop per message there is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.bags.mcap.records import (
    HEAD,
    HEAD_BYTES,
    MESSAGE_CONTENT_BYTES_MIN,
    Opcode,
    parse_head,
)

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]

RECORD_HEAD = np.dtype([("opcode", "u1"), ("length", "<u8")])
"""The start of every record; packed, 9 bytes."""

MESSAGE_HEAD = np.dtype(
    [
        ("opcode", "u1"),
        ("length", "<u8"),
        ("channel", "<u2"),
        ("sequence", "<u4"),
        ("log_time", "<u8"),
        ("publish_time", "<u8"),
    ]
)
"""Everything of a message record before its payload; packed, 31 bytes."""

INDEX_HEAD = np.dtype(
    [("opcode", "u1"), ("length", "<u8"), ("channel", "<u2"), ("entries_bytes", "<u4")]
)
"""Everything of a message index record before its entries; packed, 15 bytes."""

INDEX_CONTENT_BYTES_MIN = 2 + 4
"""Channel id, and bytes of the entries: what a message index record holds without any."""

INDEX_ENTRY = np.dtype([("log_time", "<u8"), ("offset", "<u8")])
"""One entry of a message index record."""

OFFSET = np.dtype("<i8")
"""The second half of an entry, signed: what is beyond 2**63 is before the chunk, and so a lie."""

WALKED_INDEXES_MAX, WALKED_INDEX_BYTES = 16, 2048
"""So many message index records are walked one by one, and any number of such long ones, for a step
takes as long as looking at so many bytes. Where more shorter ones are likely, they are found at
once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Where the records of a piece are.

    Attributes:
        messages: int64, shape (n,): where message records start, ascending.
        others: Where records that are no messages start, ascending.
        end: Where the last record ends; short of the piece's size when what follows is no record.
    """

    messages: Offsets
    others: tuple[int, ...]
    end: int


def index_offsets(data: memoryview, start: int) -> tuple[Offsets | None, int]:
    """Collect where the message index records behind a chunk say that messages start.

    Args:
        data: The chunk record and the message index records behind it.
        start: Where the first of these records starts.

    Returns:
        int64, shape (n,), in the order of the records, None where there is none; and where the last
        whole one ends.
    """
    entries, end = _index_entries(data, start)
    return (_offsets_in(data, entries) if end > start else None), end


def joined_index_offsets(data: memoryview, areas: Offsets) -> tuple[Offsets, Offsets] | None:
    """Collect what `index_offsets` does, behind several chunks with one search.

    Args:
        data: The bytes of all chunks.
        areas: int64, shape (chunks, 2): where the message index records behind each chunk start and
            end, ascending.

    Returns:
        int64, shape (n,) each: where messages start, and behind which chunk that is said; None
        where these areas hold other things than indexes, too.
    """
    joined = memoryview(b"".join(data[start:end] for start, end in areas))
    entries, end = _index_entries(joined, 0)
    if end < len(joined):
        return None
    behind = np.searchsorted(entries, np.cumsum(areas[:, 1] - areas[:, 0]))
    chunks = np.repeat(np.arange(len(areas)), np.diff(behind, prepend=0))
    return _offsets_in(joined, entries), chunks


def _index_entries(data: memoryview, start: int) -> tuple[Offsets, int]:
    """Find the entries of message index records, up to the first record that is none.

    Cost: about 2 us for each of the first records, a few passes over the bytes of all others.

    Returns:
        int64, shape (n,): where entries start, ascending; and where the last whole record ends.
    """
    found: list[Offsets] = []
    position = start
    only_by_walk = False
    while position + HEAD_BYTES <= len(data):
        # How long they are, and so how many, if all are like those so far.
        likely_bytes = (position - start) // max(len(found), 1)
        many = WALKED_INDEXES_MAX * likely_bytes < len(data) - start
        if found and many and likely_bytes < WALKED_INDEX_BYTES and not only_by_walk:
            rest = _many_index_entries(data, position)
            if rest is not None:
                found.append(rest[0])
                position = rest[1]
                break
            only_by_walk = True
        opcode, length = parse_head(data, position)
        content = position + HEAD_BYTES
        entries_bytes = length - INDEX_CONTENT_BYTES_MIN
        if (
            opcode != Opcode.MESSAGE_INDEX
            or content + length > len(data)
            or int.from_bytes(data[content + 2 : content + 6], "little") != entries_bytes
            or entries_bytes % INDEX_ENTRY.itemsize
        ):
            break
        position = content + length
        found.append(np.arange(position - entries_bytes, position, INDEX_ENTRY.itemsize))
    return (np.concatenate(found) if found else np.empty(0, dtype=np.int64)), position


def _many_index_entries(data: memoryview, start: int) -> tuple[Offsets, int] | None:
    """Find what `_index_entries` does without a walk; None where only a walk can tell.

    Whatever looks like a message index is a candidate. Where each ends at the next one, a walk
    would find just these; where something else only looks like one, it would not.
    """
    rest: Bytes = np.frombuffer(data, dtype=np.uint8, offset=start)
    # A plain number: numpy asks a member of an enumeration at length what it is.
    starts = np.flatnonzero(rest[: -INDEX_HEAD.itemsize + 1] == int(Opcode.MESSAGE_INDEX))
    heads = _gather(rest, starts, INDEX_HEAD)
    sizes = heads["entries_bytes"].astype(np.int64)
    behind = starts + (INDEX_HEAD.itemsize + sizes)
    plausible = heads["length"] == (sizes + INDEX_CONTENT_BYTES_MIN).view(np.uint64)
    plausible &= behind <= len(rest)
    starts, sizes, behind = starts[plausible], sizes[plausible], behind[plausible]
    if not len(starts) or starts[0] or (starts[1:] != behind[:-1]).any():
        return None
    counts = sizes // INDEX_ENTRY.itemsize
    if (counts * INDEX_ENTRY.itemsize != sizes).any():
        return None
    # Entry i of all lies 16 i bytes behind these, which are one and the same for a whole record.
    firsts = behind - INDEX_ENTRY.itemsize * np.cumsum(counts)
    entries = np.repeat(firsts + start, counts)
    entries += np.arange(0, INDEX_ENTRY.itemsize * len(entries), INDEX_ENTRY.itemsize)
    return entries, start + int(behind[-1])


def _offsets_in(data: memoryview, entries: Offsets) -> Offsets:
    """Read the offsets of message index entries: the second half of each."""
    where = entries + (INDEX_ENTRY.itemsize - OFFSET.itemsize)
    return _gather(np.frombuffer(data, dtype=np.uint8), where, OFFSET)


def slice_by_index(data: Bytes, offsets: Offsets, bounds: Offsets | None = None) -> Slices | None:
    """Find all records from where an index says that messages start, or None if it lies.

    Cost: three sorts of n offsets and one gather of n heads of 9 bytes; a walk over what the index
    leaves out (declarations, usually a few in the first chunk).

    Args:
        data: uint8, shape (m,): the records of one chunk, or of several with other bytes between.
        offsets: int64, shape (n,): where the index says messages start, in any order.
        bounds: int64, shape (chunks, 2): where the records of each chunk start and end, ascending
            and disjoint; None where `data` is the records of one chunk.
    """
    size = len(data)
    bounds = np.array([[0, size]]) if bounds is None else bounds
    offsets = _ordered(offsets)
    if not len(offsets) or offsets[0] < 0 or offsets[-1] > size - MESSAGE_HEAD.itemsize:
        return None
    heads = record_heads(data, offsets)
    lengths = heads["length"]
    if (heads["opcode"] != Opcode.MESSAGE).any() or (lengths > size).any():
        return None
    if (lengths < MESSAGE_CONTENT_BYTES_MIN).any():
        return None
    ends = offsets + (lengths.astype(np.int64) + HEAD_BYTES)
    # Count at any byte the chunks that are open there, less the messages that are. That it is never
    # negative (no message overlaps another or leaves its chunk) is what comparing the two in order
    # comes to; where it is 1 there is a gap, from one of the first to the same of the second.
    gap_starts = _ordered(np.concatenate((bounds[:, 0], ends)))
    gap_ends = _ordered(np.concatenate((bounds[:, 1], offsets)))
    if (gap_starts > gap_ends).any():
        return None
    others: list[int] = []
    unindexed: list[Offsets] = []
    for gap in np.flatnonzero(gap_starts < gap_ends):
        found = slice_by_walk(data, int(gap_starts[gap]), int(gap_ends[gap]))
        if found.end != gap_ends[gap]:
            return None
        others.extend(found.others)
        unindexed.append(found.messages)
    if any(map(len, unindexed)):
        offsets = _ordered(np.concatenate([offsets, *unindexed]))
    return Slices(messages=offsets, others=tuple(others), end=int(bounds[-1, 1]))


def slice_by_walk(data: Bytes, start: int, end: int) -> Slices:
    """Find all records from one head to the next, up to the first that is none.

    Cost: about 0.2 us per record, the only Python per message between file and block; it runs
    where there is no index. A record that reaches past `end`, an opcode of zero (a file system's
    zero-filled tail) and a message shorter than its own fields are no records.
    """
    view = data.data
    starts: list[int] = []
    note = starts.append
    unpack = HEAD.unpack_from
    position = start
    while position + HEAD_BYTES <= end:
        opcode, length = unpack(view, position)
        following = position + HEAD_BYTES + length
        if following > end or not opcode:
            break
        note(position)
        position = following
    found = np.array(starts, dtype=np.int64)
    heads = record_heads(data, found)
    is_message = heads["opcode"] == Opcode.MESSAGE
    too_short = is_message & (heads["length"] < MESSAGE_CONTENT_BYTES_MIN)
    if too_short.any():
        first = int(np.argmax(too_short))
        position, found, is_message = int(found[first]), found[:first], is_message[:first]
    return Slices(
        messages=found[is_message], others=tuple(found[~is_message].tolist()), end=position
    )


def record_heads(data: Bytes, offsets: Offsets) -> NDArray[Any]:
    """Gather opcode and length at each offset; `RECORD_HEAD`, shape (n,). One copy of 9 n bytes."""
    return _gather(data, offsets, RECORD_HEAD)


def message_heads(data: Bytes, offsets: Offsets) -> NDArray[Any]:
    """Gather all of a message but its payload; `MESSAGE_HEAD`, shape (n,). A copy of 31 n bytes."""
    return _gather(data, offsets, MESSAGE_HEAD)


def _ordered(offsets: Offsets) -> Offsets:
    """Sort what is a few ascending runs, one for each channel or chunk; linear for a single one."""
    return np.sort(offsets, kind="stable")


def _gather(data: Bytes, offsets: Offsets, layout: np.dtype[Any]) -> NDArray[Any]:
    """Copy a packed record from each byte offset; all of them must lie inside `data`."""
    width = layout.itemsize
    if not len(offsets):
        return np.empty(0, dtype=layout)
    # One overlapping window per byte, so that a plain take gathers whole heads at any alignment.
    windows = np.ndarray((len(data) - width + 1,), dtype=f"V{width}", buffer=data, strides=(1,))
    return windows[offsets].view(layout)
