"""The end of an MCAP file: footer and summary, and whether they can stand for a scan.

The summary is what its writer says about the file. It saves reading everything before anything is
known, but it may be missing, in part or whole, or contradict itself; `trusted` says whether every
channel is surely in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from isal.isal_zlib import crc32

from bridge.bags.mcap.records import (
    CHUNK_HEAD_BYTES_MAX,
    DATA_END_BYTES,
    FOOTER_CONTENT_BYTES,
    HEAD_BYTES,
    MAGIC,
    TRAILER_BYTES,
    ChannelRecord,
    ChunkIndex,
    Opcode,
    Schema,
    Statistics,
    parse_channel,
    parse_chunk_head,
    parse_chunk_index,
    parse_footer,
    parse_head,
    parse_schema,
    parse_statistics,
)
from bridge.bags.source import Source
from bridge.errors import DamagedRecordingError

SUMMARY_BYTES_MAX = 1 << 28
"""A longer summary is not read; the file is scanned instead."""

ZEROS_BYTES = 1 << 20
"""How much is read at once in search of the last byte that is not zero."""

SUMMARY_OPCODES = frozenset(
    {
        Opcode.SCHEMA,
        Opcode.CHANNEL,
        Opcode.CHUNK_INDEX,
        Opcode.ATTACHMENT_INDEX,
        Opcode.STATISTICS,
        Opcode.METADATA_INDEX,
        Opcode.SUMMARY_OFFSET,
    }
)
"""What a summary consists of; with anything else in it, the footer points into the data."""

FOOTER_HEAD = (Opcode.FOOTER, FOOTER_CONTENT_BYTES)


@dataclass(slots=True, kw_only=True)
class Summary:
    """What the end of a file says.

    Attributes:
        data_end: Where the data section surely ends: at the summary, or at the footer.
        schemas: In order.
        channels: In order.
        chunks: One entry per distinct chunk, in file order.
        indexed: The channels that chunks have message indexes for.
        statistics: What the writer counted, where it says so.
        metadata_offsets: Where metadata records are.
        attachment_offsets: Where attachments are.
        damage: What is wrong with it; then only `data_end` is kept.
    """

    data_end: int
    schemas: list[Schema] = field(default_factory=list)
    channels: list[ChannelRecord] = field(default_factory=list)
    chunks: list[ChunkIndex] = field(default_factory=list)
    indexed: set[int] = field(default_factory=set)
    statistics: Statistics | None = None
    metadata_offsets: list[int] = field(default_factory=list)
    attachment_offsets: list[int] = field(default_factory=list)
    damage: str = ""

    @property
    def trusted(self) -> bool:
        """Whether every channel of the file seems to be among `channels`.

        It is a claim like all others: where reading finds another channel, the file is scanned.
        """
        ids = {channel.id for channel in self.channels}
        schema_ids = {0} | {schema.id for schema in self.schemas}
        if (
            self.damage
            or len(ids) != len(self.channels)
            or any(channel.schema_id not in schema_ids for channel in self.channels)
            or not self.indexed <= ids
        ):
            return False
        counted = self.statistics.channel_message_counts if self.statistics is not None else {}
        if self.statistics is not None and (counted or not self.statistics.message_count):
            # The number of channels proves nothing: libmcap lists more than it counts.
            return set(counted) <= ids and sum(counted.values()) == self.statistics.message_count
        # Without counts (an empty map means that there are none) only the message indexes of every
        # chunk can vouch for its channels.
        return bool(self.chunks) and all(chunk.channels for chunk in self.chunks)


def content_end(source: Source) -> int:
    """Find where a file ends that its writer closed, and that has only zeros behind that.

    A file system that makes room in advance leaves such files. Reads zeros at the end, no more.
    """
    end = source.size_bytes
    if source.read_at(max(0, end - 1), 1) != b"\0":
        return end
    while end > 0:
        start = max(0, end - ZEROS_BYTES)
        rest = source.read_at(start, end - start).rstrip(b"\0")
        if rest:
            reached = start + len(rest)
            # The magic at the start of a file closes nothing.
            closed = (
                reached >= len(MAGIC) + TRAILER_BYTES
                and source.read_at(reached - len(MAGIC), len(MAGIC)) == MAGIC
            )
            return reached if closed else source.size_bytes
        end = start
    return source.size_bytes


def read_summary(source: Source, end: int) -> Summary | None:
    """Read the end of a file; None when its writer did not get to write one.

    Cost: one read of the trailer and one of the summary, which is a few 100 bytes per chunk.

    Args:
        source: The file.
        end: Where its content ends.
    """
    trailer_start = end - TRAILER_BYTES
    trailer = source.read_at(trailer_start, TRAILER_BYTES) if trailer_start > 0 else b""
    if not trailer.endswith(MAGIC) or parse_head(trailer) != FOOTER_HEAD:
        return None
    footer = parse_footer(trailer[HEAD_BYTES : -len(MAGIC)])
    start = footer.summary_start
    if start == 0:
        return Summary(data_end=trailer_start)
    if not len(MAGIC) <= start <= trailer_start or trailer_start - start > SUMMARY_BYTES_MAX:
        return Summary(data_end=trailer_start, damage="the footer points to no summary")
    data = source.read_at(start, trailer_start - start)
    # The checksum covers the summary and the footer up to the checksum itself.
    covered = trailer[: -len(MAGIC) - 4]
    if footer.summary_crc and crc32(covered, crc32(data)) != footer.summary_crc:
        return Summary(data_end=trailer_start, damage="the summary's checksum is wrong")
    try:
        return _parse(data, data_end=start)
    except DamagedRecordingError as error:
        return Summary(data_end=trailer_start, damage=f"the summary: {error.message}")


def _parse(data: bytes, *, data_end: int) -> Summary:
    """Take apart the summary section.

    Raises:
        DamagedRecordingError: It is not made of whole records, or lists impossible chunks.
    """
    summary = Summary(data_end=data_end)
    chunks: dict[int, ChunkIndex] = {}
    for opcode, content in _records(data):
        match opcode:
            case Opcode.SCHEMA:
                summary.schemas.append(parse_schema(content))
            case Opcode.CHANNEL:
                summary.channels.append(parse_channel(content))
            case Opcode.CHUNK_INDEX:
                # A chunk that is listed twice is still one chunk.
                chunk = parse_chunk_index(content, summary.indexed)
                chunks[chunk.start] = chunk
            case Opcode.STATISTICS:
                summary.statistics = parse_statistics(content)
            case Opcode.METADATA_INDEX:
                summary.metadata_offsets.append(int.from_bytes(content[:8], "little"))
            case Opcode.ATTACHMENT_INDEX:
                summary.attachment_offsets.append(int.from_bytes(content[:8], "little"))
    summary.chunks = [chunks[start] for start in sorted(chunks)]
    reached = len(MAGIC)
    for chunk in summary.chunks:
        # How long its message indexes are shows when they are read.
        end = chunk.start + chunk.length
        if chunk.start < reached or end > data_end:
            raise DamagedRecordingError("its chunks overlap or lie outside the file")
        reached = end
    return summary


def _records(data: bytes) -> Iterator[tuple[int, memoryview]]:
    view = memoryview(data)
    position = 0
    while position < len(data):
        if position + HEAD_BYTES > len(data):
            raise DamagedRecordingError("it ends inside a record")
        opcode, length = parse_head(data, position)
        position += HEAD_BYTES
        if length > len(data) - position:
            raise DamagedRecordingError("a record reaches past its end")
        if opcode not in SUMMARY_OPCODES and opcode <= Opcode.DATA_END:
            raise DamagedRecordingError("it holds records of the data section")
        yield opcode, view[position : position + length]
        position += length


PIECE_BYTES = 4 << 20
"""How much is read at once for the checksum of the data section."""


def check_data_section(source: Source, summary: Summary) -> bool | None:
    """Check the data section as a whole where that is the only check there is.

    Few writers leave this checksum. Chunks with checksums of their own need no second look, so the
    file is read once more only where it has the checksum and its messages have none.

    Returns:
        Whether the checksum is right; None where it is absent or not needed.
    """
    end = summary.data_end - DATA_END_BYTES
    record = source.read_at(end, DATA_END_BYTES) if end > 0 else b""
    if len(record) < DATA_END_BYTES or parse_head(record) != (
        Opcode.DATA_END,
        DATA_END_BYTES - HEAD_BYTES,
    ):
        return None
    expected = int.from_bytes(record[HEAD_BYTES:], "little")
    if not expected or _chunks_have_checksums(source, summary):
        return None
    found = 0
    for offset in range(0, end, PIECE_BYTES):
        found = crc32(source.read_at(offset, min(PIECE_BYTES, end - offset)), found)
    return found == expected


def _chunks_have_checksums(source: Source, summary: Summary) -> bool:
    """Tell by the first chunk whether the writer guards each of them."""
    if not summary.chunks:
        return False
    try:
        head = source.read_at(summary.chunks[0].start, CHUNK_HEAD_BYTES_MAX)
        return bool(parse_chunk_head(head).crc)
    except DamagedRecordingError:
        return False
