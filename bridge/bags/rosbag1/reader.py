"""Reading ROS 1 bags of format 2.0 into blocks, whole, unindexed or damaged.

One walk over the file's own records serves all three. The index section at the end gives topics and
counts at once; a bag without a usable one (its recorder was killed, or its end is cut) is walked
twice, the first time to learn what it holds.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Self

import numpy as np

from bridge.bags.container import (
    HOLES,
    NOWHERE,
    TOO_LONG,
    Channel,
    ChannelBlock,
    MixedChannels,
    ReadLimits,
    ReadTally,
)
from bridge.bags.rosbag1.chunk import Chunk, ChunkReader
from bridge.bags.rosbag1.index import (
    LATCHING,
    BagHeader,
    Connections,
    Index,
    read_header,
    read_index,
)
from bridge.bags.rosbag1.records import MAGIC
from bridge.bags.source import FileSource, Source
from bridge.errors import (
    DamagedRecordingError,
    NotARecordingError,
    RecordingError,
    RecordingLimitError,
)
from bridge.model import Loss, RecordingFile
from bridge.units import counted

UNDECLARED = "connection is not declared in the file"
WRONG_INDEX = "an index section whose place or numbers are wrong"

OPENING_BYTES_MAX = 64 << 20
"""How much is looked into for the first message that is no copy of a latched one."""

REINDEX_HINT = "on a copy of the file, `rosbag reindex` (ROS 1) may find more"


class Rosbag1Reader:
    """One open `.bag` file; a `ContainerReader`."""

    def __init__(
        self,
        source: Source,
        *,
        header: BagHeader | None,
        connections: Connections,
        index: Index,
        limits: ReadLimits,
        thorough: bool = False,
    ) -> None:
        self._source = source
        self._connections = connections
        self._limits = limits
        self._tally = ReadTally()
        self._bytes_read = 0
        self._found: Counter[int] = Counter()
        self._indexed = index is Index.WHOLE and not thorough
        self._closed = index is not Index.MISSING
        self._chunks = ChunkReader(
            source,
            start=header.end if header else len(MAGIC),
            stop=header.index_pos if header and self._closed else source.size_bytes,
            limits=limits,
        )
        if index is Index.CONTRADICTORY:
            self._tally.contradictions[WRONG_INDEX] += 1
        self._claimed = connections.counts.copy() if self._closed else Counter()
        if not self._indexed:
            self._scan()
        self._tally.extras += connections.extras
        self._repeated_ns, copied = self._opening()
        self._channels = tuple(
            replace(
                channel,
                message_count=connections.counts[connection],
                qos=LATCHING if connection in copied else channel.qos,
            )
            for connection, channel in connections.channels.items()
        )

    @property
    def channels(self) -> Sequence[Channel]:
        """One channel per connection, in order of their first declaration."""
        return self._channels

    @property
    def bytes_read(self) -> int:
        """Payload bytes that were yielded."""
        return self._bytes_read

    @property
    def tally(self) -> ReadTally:
        """What could not be read or was skipped so far."""
        return self._tally

    @property
    def repeated_ns(self) -> int | None:
        """The time of the latched messages that `--repeat-latched` wrote at the start."""
        return self._repeated_ns

    @property
    def metadata(self) -> Mapping[str, object]:
        """Whether the bag was indexed when it was closed."""
        return MappingProxyType({"indexed": self._closed})

    @property
    def healthy(self) -> bool:
        """Whether the recorder closed the bag and nothing was found damaged so far."""
        return self._closed and not self._tally.losses

    @property
    def misled(self) -> bool:
        """Whether messages were left out since the index lacks their connection."""
        return self._indexed and (NOWHERE, UNDECLARED) in self._tally.skipped

    def blocks(self) -> Iterator[ChannelBlock]:
        """Yield all messages in file order, a block per chunk and connection.

        Raises:
            RecordingChangedError: The file was written to meanwhile.
            DamagedRecordingError: The storage gives no bytes.
        """
        for chunk in self._chunks.chunks(self._tally.losses):
            self._tally.compressed = self._chunks.compressed
            yield from self._blocks(chunk)
        self._source.check_unchanged()
        self._tally.contradictions += self._chunks.contradictions
        self._judge_holes()
        if not self._tally.losses:
            self._check_counts()

    def _opening(self) -> tuple[int | None, frozenset[int]]:
        """Find the copies of latched messages with which `rosbag record` opened this split.

        `--repeat-latched` opens a split with copies that all have the time of that moment, on the
        connections of their publishers or on ones that name no publisher. What made the recorder
        split was received before that moment and follows them. A latched message of its own is
        followed by later ones.

        Returns:
            The time of the copies, and their connections; None and nothing where there are none.
        """
        known = self._connections
        latched = {number for number, channel in known.channels.items() if channel.qos}
        if len(known.nameless) < len(known.channels):
            latched |= known.nameless
        if not latched:
            return None, frozenset()
        opened_ns, found, looked_into = None, set[int](), 0
        for chunk in self._chunks.chunks([]):
            messages = chunk.messages
            looked_into += len(chunk.data)
            if not len(messages.starts):
                continue
            opened_ns = int(messages.times_ns[0]) if opened_ns is None else opened_ns
            others = np.flatnonzero(
                ~np.isin(messages.connections, list(latched)) | (messages.times_ns != opened_ns)
            )
            behind = int(others[0]) if len(others) else len(messages.starts)
            found |= set(messages.connections[:behind].tolist())
            if len(others) and messages.times_ns[behind] <= opened_ns and found:
                return opened_ns, frozenset(found)
            if len(others) or looked_into > OPENING_BYTES_MAX:
                break
        return None, frozenset()

    def _judge_holes(self) -> None:
        """Tell holes in which nothing was from those that something is missing from.

        Zeros between records are no damage where every message that the index counts is there.
        """
        holes = self._chunks.holes
        if self._closed and self._found.total() >= self._claimed.total():
            if holes:
                self._tally.contradictions[HOLES] += len(holes)
            return
        self._tally.losses.extend(
            Loss(
                path=self._source.path,
                start_bytes=hole.start,
                end_bytes=hole.end,
                reason=hole.reason,
                verifiable=False,
            )
            for hole in holes
        )

    def _check_counts(self) -> None:
        """Compare the messages that were found with those that the index counts; the data count."""
        if not self._closed:
            return
        for connection, channel in self._connections.channels.items():
            claimed, found = self._claimed[connection], self._found[connection]
            if claimed != found:
                reason = (
                    f"the index counts {counted(claimed, 'message')} on {channel.topic},"
                    f" {found} were found"
                )
                self._tally.contradictions[reason] += 1

    def mixed_blocks(self) -> Iterator[MixedChannels]:
        """Yield the same, each block of one channel."""
        return map(MixedChannels.of, self.blocks())

    def close(self) -> None:
        """Close the file; idempotent."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _blocks(self, chunk: Chunk) -> Iterator[ChannelBlock]:
        """Sort the messages of a chunk by connection."""
        messages = chunk.messages
        for connection, count in zip(
            *np.unique(messages.connections, return_counts=True), strict=True
        ):
            self._found[int(connection)] += int(count)
        fits = messages.ends - messages.starts <= self._limits.message_bytes_max
        for connection in np.unique(messages.connections):
            rows = np.flatnonzero(messages.connections == connection)
            channel = self._connections.channels.get(int(connection))
            if channel is None:
                self._tally.skipped[NOWHERE, UNDECLARED] += len(rows)
                continue
            kept = rows[fits[rows]]
            if len(kept) < len(rows):
                self._tally.skipped[channel.index, TOO_LONG] += len(rows) - len(kept)
            if len(kept):
                self._tally.unverified_messages += len(kept)
                self._bytes_read += int((messages.ends[kept] - messages.starts[kept]).sum())
                yield ChannelBlock(
                    channel=channel.index,
                    log_times_ns=messages.times_ns[kept],
                    data=chunk.data,
                    starts=messages.starts[kept],
                    ends=messages.ends[kept],
                )

    def _scan(self) -> None:
        """Learn connections and counts from the chunks themselves."""
        self._connections.forget_counts()
        losses: list[Loss] = []
        for chunk in self._chunks.chunks(losses):
            for record in chunk.declared:
                self._connections.declare(
                    record, chunk.data[record.data_start : record.end].tobytes()
                )
            self._connections.count(chunk.messages.connections)
        found = self._chunks
        if (
            not self._closed
            and not losses
            and not found.holes
            and 0 < found.chunk_records == found.index_records
        ):
            # The index section is there, only not where the first record says.
            self._closed = True
            self._claimed = self._connections.counts.copy()
            self._tally.contradictions[WRONG_INDEX] += 1


def open_rosbag1(
    file: RecordingFile, *, limits: ReadLimits, thorough: bool = False
) -> Rosbag1Reader:
    """Open a `.bag` file.

    Args:
        file: The file.
        limits: What it may claim.
        thorough: Whether to learn the connections from the chunks, whatever the index says.

    Raises:
        NotARecordingError: Not a bag, or one of a format before 2.0.
        DamagedRecordingError: Nothing can be read of it.
        RecordingLimitError: The file claims more than `limits` allow.
        RecordingError: It is encrypted, or may not be read.
        RecordingVanishedError: The file disappeared.
    """
    source = FileSource(file.path)
    try:
        return _open(source, limits, thorough=thorough)
    except RecordingLimitError as error:
        source.close()
        error.path = file.path
        raise
    except BaseException:
        source.close()
        raise


def _open(source: Source, limits: ReadLimits, *, thorough: bool) -> Rosbag1Reader:
    """Look what the file is, and whether its index can be used."""
    path = source.path
    magic = source.read_at(0, len(MAGIC))
    if not magic:
        raise DamagedRecordingError("the file is empty", path=path)
    if magic.startswith(b"#ROSBAG V") and magic != MAGIC and len(magic) == len(MAGIC):
        raise NotARecordingError(
            "a bag of another format than 2.0",
            path=path,
            hint="`rosbag fix` or `rosbag reindex` (ROS 1) can bring it to format 2.0",
        )
    if not MAGIC.startswith(magic):
        raise NotARecordingError("not a ROS 1 bag", path=path)
    header = read_header(source, len(MAGIC))
    if header is not None and header.encryptor:
        raise RecordingError(
            f"the bag is encrypted by {header.encryptor}",
            path=path,
            hint="decrypt it with `rosbag decrypt` (ROS 1) first",
        )
    connections = Connections(limits=limits)
    index = Index.MISSING if header is None else read_index(source, header, connections)
    reader = Rosbag1Reader(
        source,
        header=header,
        connections=connections,
        index=index,
        limits=limits,
        thorough=thorough,
    )
    if not reader.channels and index is Index.MISSING:
        raise DamagedRecordingError(
            "no topic can be found in the bag", path=path, hint=REINDEX_HINT
        )
    return reader
