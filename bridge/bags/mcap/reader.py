"""Reading MCAP files of every kind into blocks.

Where a trusted summary lists all channels and chunks, opening reads the end of the file and nothing
else; whatever lies outside of the chunks it lists is scanned when its turn comes. Every other file
is scanned once at opening, so that its channels are known before the first block.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import (
    HOLES,
    ZERO_TAIL,
    Channel,
    ChannelBlock,
    MixedChannels,
    ReadLimits,
    ReadTally,
)
from bridge.bags.mcap.blocks import (
    REDECLARED_CHANNEL,
    UNKNOWN_CHANNEL,
    UNKNOWN_RECORDS,
    UNREADABLE,
    BlockCutter,
    kind_of_unknown,
)
from bridge.bags.mcap.channels import ChannelTable
from bridge.bags.mcap.chunk import Piece, load_run, scan_declarations
from bridge.bags.mcap.records import (
    HEAD_BYTES,
    LAYOUTS,
    MAGIC,
    MESSAGE_CONTENT_BYTES_MIN,
    MESSAGE_HEAD_BYTES,
    Fields,
    Opcode,
    parse_attachment_head,
    parse_head,
    parse_metadata,
)
from bridge.bags.mcap.scan import ChunkAt, LostAt, OtherAt, RunAt, Segment, scan
from bridge.bags.mcap.stretch import (
    StretchAt,
    chunk_at,
    load_ahead,
    load_stretch,
    loaders,
    stretches,
    with_own_indexes,
)
from bridge.bags.mcap.summary import Summary, check_data_section, content_end, read_summary
from bridge.bags.source import Source
from bridge.errors import DamagedRecordingError, NotARecordingError
from bridge.model import Loss

METADATA_BYTES_MAX = 64 << 10
"""Larger metadata records are counted, not kept."""

RECORDS_KEPT_MAX = 256
"""More metadata records or attachments than this are counted, not kept."""

HEADER_BYTES_MAX = 4096


@dataclass(slots=True, kw_only=True)
class Extras:
    """What an MCAP file holds besides messages; small things are kept, large ones only counted.

    Attributes:
        profile: `ros2`, `ros1`, another, or empty.
        library: What wrote the file.
        metadata: The entries of metadata records by their names; the last of a name counts.
        attachments: Name, media type and size of each attachment.
    """

    profile: str = ""
    library: str = ""
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    attachments: list[dict[str, object]] = field(default_factory=list)

    def as_metadata(self) -> dict[str, object]:
        """Give everything under the names that recordings use for it."""
        return {
            "profile": self.profile,
            "library": self.library,
            "metadata": dict(self.metadata),
            "attachments": list(self.attachments),
        }


def read_header(source: Source, extras: Extras) -> None:
    """Take profile and library from the file's first record; a damaged one leaves them empty."""
    raw = source.read_at(len(MAGIC), HEADER_BYTES_MAX)
    if len(raw) < HEAD_BYTES:
        return
    opcode, length = parse_head(raw)
    if opcode != Opcode.HEADER:
        return
    fields = Fields(raw[HEAD_BYTES : HEAD_BYTES + length])
    try:
        extras.profile = fields.text()
        extras.library = fields.text()
    except DamagedRecordingError:
        return


def keep_record(source: Source, start: int, extras: Extras) -> None:
    """Keep what is small of the metadata record or attachment at a position; ignore others."""
    head = source.read_at(start, HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return
    opcode, length = parse_head(head)
    content = source.read_at(start + HEAD_BYTES, min(length, METADATA_BYTES_MAX))
    try:
        if opcode == Opcode.METADATA and length <= METADATA_BYTES_MAX:
            name, entries = parse_metadata(content)
            if name in extras.metadata or len(extras.metadata) < RECORDS_KEPT_MAX:
                extras.metadata[name] = entries
        elif opcode == Opcode.ATTACHMENT and len(extras.attachments) < RECORDS_KEPT_MAX:
            name, media_type, size_bytes = parse_attachment_head(content)
            extras.attachments.append(
                {"name": name, "media_type": media_type, "size_bytes": size_bytes}
            )
    except DamagedRecordingError:
        return


DATA_ALTERED = "the data section's checksum is wrong: something is altered, and nothing shows what"

MISPLACED = "entries of the chunk index that point at no chunk"
MISMEASURED = "entries of the chunk index that give another length than the chunk"
NO_INDEXES = "bytes that the chunk index takes for message indexes and are none"

OBSCURE_KINDS = (UNKNOWN_RECORDS, UNREADABLE)
"""What may have been messages before it was damaged."""

COUNTED_OPCODES: Mapping[int, str] = {
    Opcode.ATTACHMENT: "attachments",
    Opcode.METADATA: "metadata records",
}
"""The records besides messages that a user may miss."""


class McapReader:
    """One open MCAP file; a `ContainerReader`.

    Attributes:
        bytes_read: How far in the content reading has come.
        size_bytes: The size of the content; not that of the file where the file is compressed.
    """

    repeated_ns = None

    def __init__(
        self,
        source: Source,
        *,
        limits: ReadLimits,
        thorough: bool = False,
        types: Mapping[str, str] | None = None,
    ) -> None:
        """Learn the channels of an open file; the reader closes it when it is closed itself.

        Args:
            source: The file.
            limits: What it may claim.
            thorough: Whether to learn the channels by looking into every chunk, and not to believe
                what summary and message indexes say of them.
            types: The types of topics whose channels have no schema, where something else has.

        Raises:
            NotARecordingError: Nothing in the file is of MCAP.
            RecordingLimitError: The file claims more channels than the limits allow.
        """
        self.bytes_read = 0
        self.size_bytes = source.size_bytes
        self._source = source
        self._limits = limits
        self._tally = ReadTally()
        self._extras = Extras()
        self._table = ChannelTable(limits=limits, types=types)
        self._scanned: list[Segment] | None = None
        self._loaders = loaders()
        self._begun = source.read_at(0, len(MAGIC)) == MAGIC
        read_header(source, self._extras)
        self._end = content_end(source)
        if self._end < source.size_bytes:
            self._tally.contradictions[ZERO_TAIL] += 1
        self._summary = read_summary(source, self._end)
        self._thorough = thorough
        self._holes: list[LostAt] = []
        self._healthy = self._begun and self._summary is not None
        self._data_checked: bool | None = None
        if self._summary is not None and self._begun:
            if self._summary.damage:
                self._tally.contradictions[self._summary.damage] += 1
            else:
                self._data_checked = check_data_section(source, self._summary)
                self._healthy = self._data_checked is not False
        if self._begun and self._summary is not None and self._summary.trusted and not thorough:
            self._learn_from_summary(self._summary)
        else:
            self._learn_from_scan()

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All channels in order of their first declaration."""
        return self._table.channels

    @property
    def tally(self) -> ReadTally:
        """What could not be read or was skipped so far."""
        return self._tally

    @property
    def metadata(self) -> Mapping[str, object]:
        """Profile, library, the metadata records by name, and a list of the attachments."""
        return MappingProxyType(self._extras.as_metadata())

    @property
    def healthy(self) -> bool:
        """Whether the writer closed the file and a scan, where one was needed, found no damage."""
        return self._healthy

    @property
    def misled(self) -> bool:
        """Whether messages were left out since a claim about the file's channels was wrong."""
        return not self._thorough and any(
            reason in {UNKNOWN_CHANNEL, REDECLARED_CHANNEL} for _, reason in self._tally.skipped
        )

    def blocks(self) -> Iterator[ChannelBlock]:
        """Yield all intact messages in file order, one block per channel and chunk or run."""
        for mixed in self.mixed_blocks():
            yield from mixed.by_channel()

    def mixed_blocks(self) -> Iterator[MixedChannels]:
        """Yield the same, one block per chunk or run."""
        cutter = BlockCutter(self._table, limits=self._limits, tally=self._tally)
        if self._data_checked is False:
            self._lose(0, self._source.size_bytes, DATA_ALTERED, verifiable=False)
        yield from self._segments_blocks(self._segments(), cutter)
        self.bytes_read = self._source.size_bytes
        self._judge_holes(int(cutter.counted.sum()))
        self._check_counts(cutter.counted)

    def _segments_blocks(
        self, segments: Iterable[Segment], cutter: BlockCutter
    ) -> Iterator[MixedChannels]:
        load = partial(load_stretch, self._source, known=self._known(), limits=self._limits)
        for segment, pieces in load_ahead(stretches(segments), load, self._loaders):
            if isinstance(segment, StretchAt):
                for piece in pieces:
                    yield from self._piece_blocks(piece, cutter)
            else:
                yield from self._segment_blocks(segment, cutter)
            self.bytes_read = segment.end

    def close(self) -> None:
        """Release the file; idempotent."""
        self._loaders.shutdown(cancel_futures=True)
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _learn_from_summary(self, summary: Summary) -> None:
        for schema in summary.schemas:
            self._table.declare_schema(schema)
        for record in summary.channels:
            self._table.declare_channel(record)
        for offset in (*summary.metadata_offsets, *summary.attachment_offsets):
            keep_record(self._source, offset, self._extras)
        self._table.finish(_counts(summary))

    def _learn_from_scan(self) -> None:
        """Walk the whole file; look into chunks only where they may hold unknown channels."""
        self._scanned = []
        for segment in self._walked(len(MAGIC) if self._begun else 0, self._end):
            self._scanned.append(segment)
            if isinstance(segment, ChunkAt | RunAt):
                scan_declarations(
                    self._source,
                    segment,
                    self._table,
                    limits=self._limits,
                    thorough=self._thorough,
                )
            elif isinstance(segment, OtherAt):
                keep_record(self._source, segment.start, self._extras)
            elif not (segment.zeros and self._counts_messages):
                self._healthy = False
        if not self._begun and not any(isinstance(s, ChunkAt | RunAt) for s in self._scanned):
            raise NotARecordingError(
                "the file is not MCAP: neither its first bytes nor anything in it",
                path=self._source.path,
                hint="if a recorder or a copy was cut off here, nothing of it reached the disk",
            )
        self._table.finish(_counts(self._summary))

    def _known(self) -> NDArray[np.bool_]:
        return self._table.known

    def _segments(self) -> Iterator[Segment]:
        """Yield the segments in order: as scanned, or the listed chunks and what is between."""
        if self._scanned is not None:
            yield from self._scanned
            return
        assert self._summary is not None, "either scanned or trusted"
        yield from self._walked(len(MAGIC), self._summary.data_end)

    def _walked(self, position: int, end: int) -> Iterator[Segment]:
        """Yield the chunks that the summary lists, and what a scan finds between them."""
        summary = self._summary or Summary(data_end=end)
        ends = [*(chunk.start for chunk in summary.chunks[1:]), summary.data_end]
        # Without any chunk there is an end too many.
        for chunk, next_start in zip(summary.chunks, ends, strict=False):
            found = chunk_at(self._source, chunk, end=next_start)
            if found is None or chunk.start < position:
                # Either the chunk's head or the summary is damaged: a scan finds the rest.
                self._tally.contradictions[MISPLACED] += 1
                continue
            if found.end - found.start != chunk.length:
                self._tally.contradictions[MISMEASURED] += 1
            if found.index_end != next_start:
                found = with_own_indexes(self._source, found, end=next_start)
            if position < chunk.start:
                yield from scan(self._source, position, chunk.start, known=self._known)
            yield found
            position = found.index_end
        yield from scan(self._source, position, end, known=self._known)

    def _segment_blocks(self, segment: Segment, cutter: BlockCutter) -> Iterator[MixedChannels]:
        match segment:
            case RunAt() if self._is_too_large(segment):
                cutter.count_too_large(self._source.read_at(segment.start, MESSAGE_HEAD_BYTES))
            case RunAt():
                yield from self._piece_blocks(load_run(self._source, segment), cutter)
            case OtherAt():
                if segment.opcode in COUNTED_OPCODES:
                    self._tally.extras[COUNTED_OPCODES[segment.opcode]] += 1
                elif segment.opcode not in LAYOUTS:
                    size = min(segment.end - segment.start - HEAD_BYTES, MESSAGE_CONTENT_BYTES_MIN)
                    content = memoryview(self._source.read_at(segment.start + HEAD_BYTES, size))
                    kind = kind_of_unknown(segment.opcode, content, self._known())
                    self._tally.extras[kind] += 1
            case LostAt(zeros=True) if self._counts_messages:
                self._holes.append(segment)
            case LostAt():
                self._lose(segment.start, segment.end, segment.reason, verifiable=False)

    def _is_too_large(self, run: RunAt) -> bool:
        """Tell a single record that must not even be loaded."""
        size = run.end - run.start - MESSAGE_HEAD_BYTES
        return run.start == run.last and size > self._limits.message_bytes_max

    def _piece_blocks(self, piece: Piece, cutter: BlockCutter) -> Iterator[MixedChannels]:
        for lost in piece.losses:
            self._lose(lost.start, lost.end, lost.reason, verifiable=piece.checked)
        self._tally.contradictions.update(piece.contradictions)
        self._tally.compressed |= piece.compressed
        if piece.data is not None and piece.slices is not None:
            for block in cutter.cut(piece.data, piece.slices):
                if not piece.verified and not self._data_checked:
                    self._tally.unverified_messages += len(block.starts)
                yield block
        if piece.unread is not None:
            self._tally.contradictions[NO_INDEXES] += 1
            start, end = piece.unread
            yield from self._segments_blocks(
                scan(self._source, start, end, known=self._known), cutter
            )

    def _lose(self, start: int, end: int, reason: str, *, verifiable: bool) -> None:
        self._tally.losses.append(
            Loss(
                path=self._source.path,
                start_bytes=start,
                end_bytes=end,
                reason=reason,
                verifiable=verifiable,
            )
        )

    @property
    def _counts_messages(self) -> bool:
        """Whether the file says how many messages it holds."""
        return self._summary is not None and self._summary.statistics is not None

    def _judge_holes(self, found: int) -> None:
        """Tell holes in which nothing was from those that something is missing from.

        Zeros between records are no damage where every message that the writer counted is there.
        """
        statistics = self._summary.statistics if self._summary is not None else None
        if statistics is not None and found >= statistics.message_count:
            if self._holes:
                self._tally.contradictions[HOLES] += len(self._holes)
            return
        for hole in self._holes:
            self._healthy = False
            self._lose(hole.start, hole.end, hole.reason, verifiable=False)

    def _check_counts(self, counted: NDArray[np.int64]) -> None:
        """Compare the messages that were found with those that the writer counted.

        The data count. Fewer messages are a loss only where something could not be understood that
        may have been one.
        """
        tally = self._tally
        if tally.losses:
            return
        obscure = sum(tally.extras[kind] for kind in OBSCURE_KINDS)
        for channel in self.channels:
            found = int(counted[channel.index])
            if channel.message_count is None or found == channel.message_count:
                continue
            reason = (
                f"the file counts {channel.message_count} messages on {channel.topic}, "
                f"{found} were found"
            )
            if found < channel.message_count and obscure:
                self._lose(len(MAGIC), self._source.size_bytes, reason, verifiable=False)
            else:
                tally.contradictions[reason] += 1


def _counts(summary: Summary | None) -> Mapping[int, int] | None:
    """Give the writer's message counts by channel id, where it left any."""
    if summary is None or summary.statistics is None:
        return None
    # An empty map means that the writer did not count.
    return summary.statistics.channel_message_counts or None
