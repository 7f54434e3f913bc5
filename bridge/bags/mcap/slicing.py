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

INDEX_ENTRY = np.dtype([("log_time", "<u8"), ("offset", "<u8")])
"""One entry of a message index record."""

WALKED_INDEXES_MAX = 16
"""So many message index records are walked one by one; where more are likely, they are found at
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

    Cost: about 2 us for each of the first records, a few passes over the bytes of all others.

    Args:
        data: The chunk record and the message index records behind it.
        start: Where the first of these records starts.

    Returns:
        int64, shape (n,), in the order of the records, None where there is none; and where the last
        whole one ends.
    """
    found: list[Offsets] = []
    position = start
    only_by_walk = False
    while position + HEAD_BYTES <= len(data):
        # How many there are if all are as long as those so far.
        likely = len(found) * (len(data) - start) // max(position - start, 1)
        if likely > WALKED_INDEXES_MAX and not only_by_walk:
            rest = _many_index_offsets(data, position)
            if rest is not None:
                found.append(rest[0])
                return np.concatenate(found), rest[1]
            only_by_walk = True
        opcode, length = parse_head(data, position)
        content = position + HEAD_BYTES
        # Channel id (2), bytes of the array (4), then the entries.
        entries_bytes = length - 6
        if (
            opcode != Opcode.MESSAGE_INDEX
            or content + length > len(data)
            or int.from_bytes(data[content + 2 : content + 6], "little") != entries_bytes
            or entries_bytes % INDEX_ENTRY.itemsize
        ):
            break
        count = entries_bytes // INDEX_ENTRY.itemsize
        entries = np.frombuffer(data, dtype=INDEX_ENTRY, count=count, offset=content + 6)
        found.append(entries["offset"].astype(np.int64))
        position = content + length
    return (np.concatenate(found) if found else None), position


def _many_index_offsets(data: memoryview, start: int) -> tuple[Offsets, int] | None:
    """Collect what `index_offsets` does without a walk; None where only a walk can tell.

    Whatever looks like a message index is a candidate. Where each ends at the next one, a walk
    would find just these; where something else only looks like one, it would not.
    """
    rest: Bytes = np.frombuffer(data, dtype=np.uint8, offset=start)
    starts = np.flatnonzero(rest[: -INDEX_HEAD.itemsize + 1] == Opcode.MESSAGE_INDEX)
    heads = _gather(rest, starts, INDEX_HEAD)
    sizes = heads["entries_bytes"].astype(np.int64)
    behind = starts + (INDEX_HEAD.itemsize + sizes)
    plausible = (heads["length"] == sizes.astype(np.uint64) + np.uint64(6)) & (behind <= len(rest))
    plausible &= sizes % INDEX_ENTRY.itemsize == 0
    starts, sizes, behind = starts[plausible], sizes[plausible], behind[plausible]
    if not len(starts) or starts[0] or (starts[1:] != behind[:-1]).any():
        return None
    counts = sizes // INDEX_ENTRY.itemsize
    before = np.cumsum(counts) - counts
    firsts = starts + (INDEX_HEAD.itemsize - INDEX_ENTRY.itemsize * before)
    entries = np.repeat(firsts, counts) + INDEX_ENTRY.itemsize * np.arange(int(counts.sum()))
    offsets = _gather(rest, entries, INDEX_ENTRY)["offset"].astype(np.int64)
    return offsets, start + int(behind[-1])


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
