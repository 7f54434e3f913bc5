"""What every container format offers to the reader above it: channels, and blocks of messages.

One `ContainerReader` reads one storage file. It knows its format and nothing of topics that span
several files, of splits, or of message types; `reader.py` merges the channels of all files of a
recording into topics.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, Self

from bridge.facade import later
from bridge.model import Definition, Loss, Serialization

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    # Who only looks for recordings starts without it.
    np = later("numpy")

NOWHERE = -1
"""The index that messages of no declared channel are counted under."""

BLOCK_BYTES = 8 << 20
"""Payload bytes that end a block whose payloads the reader puts together itself."""

# What readers of several formats count, each under the same words.
TOO_LONG = "payload is over the size limit"
HOLES = "holes of zeros between records, and no message is missing"
ZERO_TAIL = "zeros behind the end of the file's content"
WRONG_CODEC = "chunks whose compression is not what they say"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A stream of messages as one storage file declares it.

    Attributes:
        index: Position in the reader's `channels`; blocks refer to it.
        topic: The ROS topic name as recorded.
        msgtype: The message type as `pkg/msg/Name`, normalised.
        serialization: How payloads are laid out.
        definition: The embedded definition, or None.
        message_count: Messages in this file, where known without reading them, else None.
        qos: The offered QoS profiles as recorded; empty where unknown.
        type_hash: RIHS01 hash or md5; empty where unknown.
        obstacle: Why payloads cannot be decoded whatever the definition (a foreign encoding, a
            schemaless channel); empty for healthy channels. Messages of such a channel are not
            yielded but counted in `skipped`.
    """

    index: int
    topic: str
    msgtype: str
    serialization: Serialization
    definition: Definition | None
    message_count: int | None = None
    qos: str = ""
    type_hash: str = ""
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelBlock:
    """Raw messages of one channel as columns; see `bridge.model.MessageBlock` for the arrays."""

    channel: int
    log_times_ns: NDArray[np.int64]
    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedChannels:
    """Raw messages of several channels, side by side; see `bridge.model.MixedBlock`."""

    channels: NDArray[np.int64]
    log_times_ns: NDArray[np.int64]
    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def by_channel(self) -> Iterator[ChannelBlock]:
        """Yield a block for each channel, in order."""
        edges = np.flatnonzero(np.diff(self.channels, prepend=-1, append=-1))
        for first, last in itertools.pairwise(edges.tolist()):
            yield ChannelBlock(
                channel=int(self.channels[first]),
                log_times_ns=self.log_times_ns[first:last],
                data=self.data,
                starts=self.starts[first:last],
                ends=self.ends[first:last],
            )

    @classmethod
    def of(cls, block: ChannelBlock) -> MixedChannels:
        """Make one of a single channel."""
        return cls(
            channels=np.full(len(block.starts), block.channel, dtype=np.int64),
            log_times_ns=block.log_times_ns,
            data=block.data,
            starts=block.starts,
            ends=block.ends,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """What a file may claim before it is refused, and how much of a damaged one is read.

    Attributes:
        chunk_bytes_max: The largest decompressed chunk.
        message_bytes_max: The largest single payload.
        channels_max: The most channels of one file.
        definition_bytes_max: The longest message definition.
        keep_doubtful_chunks: Whether the messages of a chunk whose checksum is wrong are read; at
            least a byte of it is altered, and nothing shows which.

        repeated_latched: What happens to latched messages that a recorder wrote once more at the
            start of a split.

    The keys of the same names in the configuration's table `reading`; errors name them.
    """

    chunk_bytes_max: int = 256 << 20
    message_bytes_max: int = 256 << 20
    channels_max: int = 100_000
    definition_bytes_max: int = 4 << 20
    keep_doubtful_chunks: bool = True
    repeated_latched: Literal["keep", "drop"] = "keep"


@dataclass(slots=True, kw_only=True)
class ReadTally:
    """What reading leaves behind besides blocks; owned by the reader, read after the last block.

    Attributes:
        losses: Byte ranges that could not be read.
        skipped: Messages that were found but not yielded, by index and reason. The index is that
            of the channel where a container counts and of the topic where a recording does;
            `NOWHERE` for messages that belong to none that is declared.
        extras: Records that are no messages, by kind (attachments, metadata), counted.
        contradictions: Claims of the writer that the data contradict, counted; the data were
            believed, and nothing is lost by it.
        unverified_messages: Messages yielded whose bytes no checksum guards; all of them in formats
            that have none.
        compressed: Whether any of them were compressed in the file. Not compared, for it says
            nothing of what was lost.
    """

    losses: list[Loss] = field(default_factory=list)
    skipped: Counter[tuple[int, str]] = field(default_factory=Counter)
    extras: Counter[str] = field(default_factory=Counter)
    contradictions: Counter[str] = field(default_factory=Counter)
    unverified_messages: int = 0
    compressed: bool = field(default=False, compare=False)


class ContainerReader(Protocol):
    """One open storage file.

    Opening reads what tells the channels (and, where the file has no index or is damaged, scans
    it once), so that `channels` is final before the first block is asked for.
    """

    @property
    def channels(self) -> Sequence[Channel]:
        """All channels, in order of `Channel.index`."""

    @property
    def bytes_read(self) -> int:
        """How far reading has come, for progress; at most the size of the file's content."""

    @property
    def tally(self) -> ReadTally:
        """What could not be read or was skipped so far; complete after the last block."""

    @property
    def misled(self) -> bool:
        """Whether messages were left out since a claim about the channels was wrong.

        A reader that is opened `thorough` believes none and reads them.
        """

    @property
    def repeated_ns(self) -> int | None:
        """The time of the latched messages with which the recorder opened the file again.

        Known before the first block; None where nothing in the file itself shows that there are
        any.
        """

    @property
    def metadata(self) -> Mapping[str, object]:
        """Small metadata of the file itself (MCAP metadata records, db3 metadata rows)."""

    @property
    def healthy(self) -> bool:
        """Whether the file was closed properly by its writer."""

    def blocks(self) -> Iterator[ChannelBlock]:
        """Yield all intact messages in file order.

        Raises:
            RecordingError: The file cannot be read at all from here on; what can be salvaged is
                salvaged without raising and noted in `tally`.
        """

    def mixed_blocks(self) -> Iterator[MixedChannels]:
        """Yield the messages of `blocks`, those of many channels together where they lie so."""

    def close(self) -> None:
        """Release the file; idempotent."""

    def __enter__(self) -> Self:
        """Return the reader itself."""

    def __exit__(self, *_: object) -> None:
        """Close."""
