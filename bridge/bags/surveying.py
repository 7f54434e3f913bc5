"""Reading a recording to its end without keeping anything, to learn what can be had of it.

A loss inside a file shows only when the file is read. Where that has to be known beforehand
(a sequence's metadata can never be changed once it is created), the recording is read twice:
once here, and once for its messages.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bridge.bags.reader import RecordingReader
from bridge.model import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a whole reading found.

    Attributes:
        healthy: Whether every file was closed by its writer and no damage was found.
        losses: Byte ranges that cannot be read.
        messages: Messages that can be read, by index of the topic.
        skipped: Messages that were found but cannot be used, by index of the topic (`NOWHERE` for
            those of none) and reason.
        misled: Whether messages were left out since a file was wrong about its channels.
        unverified_messages: How many of the messages no checksum covers.
    """

    healthy: bool
    losses: tuple[Loss, ...]
    messages: Counter[int]
    skipped: Counter[tuple[int, str]]
    unverified_messages: int
    misled: bool = False

    @property
    def lost_bytes(self) -> int:
        """Bytes in all ranges together."""
        return sum(loss.end_bytes - loss.start_bytes for loss in self.losses)


def survey(reader: RecordingReader, *, progress: Callable[[int], None] | None = None) -> Survey:
    """Read all blocks of an open recording and count; the reader is used up by it.

    Cost: reading and decompressing, no decoding, in as little memory.

    Args:
        reader: Open, nothing of it read yet.
        progress: Called with the number of bytes read since the last call.

    Raises:
        RecordingChangedError: A file changed meanwhile.
    """
    messages: Counter[int] = Counter()
    told_bytes = 0
    for block in reader.blocks():
        messages[block.topic] += len(block.starts)
        if progress is not None and reader.bytes_read > told_bytes:
            progress(reader.bytes_read - told_bytes)
            told_bytes = reader.bytes_read
    tally = reader.tally
    return Survey(
        healthy=reader.healthy and not tally.losses,
        losses=tuple(tally.losses),
        messages=messages,
        skipped=tally.skipped,
        unverified_messages=tally.unverified_messages,
        misled=reader.misled,
    )
