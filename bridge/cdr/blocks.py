"""Many small blocks of one topic -> one contiguous block."""

from collections.abc import Sequence

import numpy as np

from bridge.cdr.source import Source
from bridge.model import MessageBlock


def merge_blocks(blocks: Sequence[MessageBlock]) -> MessageBlock:
    """Gather the payloads of blocks, in order, side by side into one new block.

    Cost: one copy of the payloads, not of the chunks they lie in; a few numpy operations per
    block, nothing per message.

    Raises:
        ValueError: There is no block, or blocks of several topics.
    """
    topics = {block.topic for block in blocks}
    if len(topics) != 1:
        raise ValueError(f"blocks of exactly one topic can be merged, not of {sorted(topics)}")
    lengths = np.concatenate([block.ends - block.starts for block in blocks])
    ends = np.cumsum(lengths)
    data = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    first = 0
    for block in blocks:
        sizes = block.ends - block.starts
        gathered = Source(block.data, swap=False).ragged(block.starts, sizes)
        behind = first + int(sizes.sum())
        data[first:behind] = np.frombuffer(gathered, dtype=np.uint8) if behind > first else 0
        first = behind
    data.flags.writeable = False
    return MessageBlock(
        topic=blocks[0].topic,
        log_times_ns=np.concatenate([block.log_times_ns for block in blocks]),
        data=data,
        starts=ends - lengths,
        ends=ends,
    )
