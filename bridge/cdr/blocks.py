"""Many small blocks of one topic -> one contiguous block."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.cdr.source import SLAB_BYTES, Positions, Source, copied_views, fit_views
from bridge.model import MessageBlock


def join_blocks(blocks: Sequence[MessageBlock]) -> MessageBlock:
    """Make one block of several of a topic, in order.

    Cost: little per block where all lie in one buffer, else that of `merge_blocks`.

    Raises:
        ValueError: There is no block, or blocks of several topics.
    """
    if len(blocks) == 1:
        return blocks[0]
    if not lie_together(blocks) or len({block.topic for block in blocks}) != 1:
        return merge_blocks(blocks)
    return MessageBlock(
        topic=blocks[0].topic,
        log_times_ns=np.concatenate([block.log_times_ns for block in blocks]),
        data=blocks[0].data,
        starts=np.concatenate([block.starts for block in blocks]),
        ends=np.concatenate([block.ends for block in blocks]),
    )


def lie_together(blocks: Sequence[MessageBlock]) -> bool:
    """Tell whether the payloads of blocks lie in one buffer."""
    return all(block.data is blocks[0].data for block in blocks)


def merge_blocks(blocks: Sequence[MessageBlock]) -> MessageBlock:
    """Gather the payloads of blocks, in order, side by side into one new block.

    Cost: one copy of the payloads, never of the chunks they lie in, and little per block. Where
    some payload has no more than 12 bytes it is two copies and some 10 us per block.

    Raises:
        ValueError: There is no block, or blocks of several topics.
    """
    topics = {block.topic for block in blocks}
    if len(topics) != 1:
        raise ValueError(f"blocks of exactly one topic can be merged, not of {sorted(topics)}")
    starts = np.concatenate([block.starts for block in blocks])
    lengths = np.concatenate([block.ends for block in blocks]) - starts
    ends = np.cumsum(lengths)
    owners = np.repeat(np.arange(len(blocks)), [len(block.starts) for block in blocks])
    data = gather_payloads([block.data for block in blocks], owners, starts, lengths)
    return MessageBlock(
        topic=blocks[0].topic,
        log_times_ns=np.concatenate([block.log_times_ns for block in blocks]),
        data=data,
        starts=ends - lengths,
        ends=ends,
    )


def gather_payloads(
    buffers: Sequence[NDArray[Any]], owners: Positions, starts: Positions, lengths: Positions
) -> NDArray[np.uint8]:
    """Copy payloads out of several buffers, one behind the other, in any order.

    Cost: one copy; two, and some 10 us per buffer, where some payload has no more than 12 bytes.

    Args:
        buffers: uint8, each of its own shape.
        owners: int64, shape (n,): which buffer each payload lies in.
        starts: int64, shape (n,): first byte of each in its buffer.
        lengths: int64, shape (n,): bytes of each.

    Returns:
        uint8, read-only.
    """
    if fit_views(buffers, lengths):
        data = np.frombuffer(copied_views(buffers, owners, starts, lengths), dtype=np.uint8)
    else:
        data = np.empty(int(lengths.sum()), dtype=np.uint8)
        placed: Positions = np.empty(len(starts), dtype=np.int64)
        first = 0
        for number, buffer in enumerate(buffers):
            rows = np.flatnonzero(owners == number)
            sizes = lengths[rows]
            ends = first + np.cumsum(sizes)
            placed[rows] = ends - sizes
            behind = int(ends[-1]) if len(rows) else first
            if behind > first:
                gathered = Source(buffer, swap=False).ragged(starts[rows], sizes)
                data[first:behind] = np.frombuffer(gathered, dtype=np.uint8)
            first = behind
        if (np.diff(owners) < 0).any():
            gathered = Source(data, swap=False).ragged(placed, lengths)
            data = np.frombuffer(gathered, dtype=np.uint8)
    data.flags.writeable = False
    return data


def copy_payloads(
    room: NDArray[np.uint8], data: NDArray[np.uint8], starts: Positions, lengths: Positions
) -> None:
    """Copy payloads out of a buffer into a room, one behind the other.

    Cost: two copies, the first within the cache where all are as long; else in as much memory as
    they take.

    Args:
        room: uint8, as long as all payloads together. It may be part of the buffer where no payload
            lies before its place in the room.
        data: uint8, what they lie in.
        starts: int64, shape (n,): first byte of each.
        lengths: int64, shape (n,): bytes of each.
    """
    if not len(room):
        return
    length = int(lengths[0])
    if (lengths != length).any():
        owners = np.zeros(len(starts), dtype=np.int64)
        room[:] = gather_payloads([data], owners, starts, lengths)
        return
    source, places = Source(data, swap=False), room.view(f"V{length}")
    rows = max(SLAB_BYTES // length, 1)
    for first in range(0, len(starts), rows):
        places[first : first + rows] = source.fixed(starts[first : first + rows], length)
