"""The end of an MCAP file: footer and summary, and whether they can stand for a scan.

The summary is what its writer says about the file. It saves reading everything before anything is
known, but it may be missing, in part or whole, or contradict itself; `trusted` says whether every
channel is surely in it.
"""

import zlib
from dataclasses import dataclass, field

from bridge.bags.mcap_records import (
    DATA_END_BYTES,
    HEAD_BYTES,
    MAGIC,
    TRAILER_BYTES,
    ChannelRecord,
    ChunkIndex,
    Footer,
    Opcode,
    Schema,
    Statistics,
    parse_channel,
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


@dataclass(slots=True, kw_only=True)
class Summary:
    """What the end of a file says.

    Attributes:
        data_end: Where the data section ends: the position of its DataEnd record.
        schemas: In order.
        channels: In order.
        chunks: One entry per distinct chunk, in file order.
        statistics: What the writer counted, where it says so.
        metadata_offsets: Where metadata records are.
        attachment_offsets: Where attachments are.
        flaw: Why the summary cannot be used although the file was closed; empty without one.
        flaw_is_damage: Whether the flaw shows damage, and not a writer's choice.
    """

    data_end: int
    schemas: list[Schema] = field(default_factory=list)
    channels: list[ChannelRecord] = field(default_factory=list)
    chunks: list[ChunkIndex] = field(default_factory=list)
    statistics: Statistics | None = None
    metadata_offsets: list[int] = field(default_factory=list)
    attachment_offsets: list[int] = field(default_factory=list)
    flaw: str = ""
    flaw_is_damage: bool = False

    @property
    def trusted(self) -> bool:
        """Whether every channel of the file is surely among `channels`."""
        if self.flaw:
            return False
        ids = {channel.id for channel in self.channels}
        if len(ids) != len(self.channels):
            return False
        schema_ids = {0} | {schema.id for schema in self.schemas}
        if any(channel.schema_id not in schema_ids for channel in self.channels):
            return False
        if any(not chunk.channel_ids <= ids for chunk in self.chunks):
            return False
        if self.statistics is not None:
            counted = self.statistics.channel_message_counts
            return self.statistics.channel_count == len(ids) and set(counted) <= ids
        return bool(self.chunks) and all(chunk.channel_ids for chunk in self.chunks)


def read_summary(source: Source) -> Summary | None:
    """Read the end of a file; None when its writer did not get to write one."""
    trailer_start = source.size_bytes - TRAILER_BYTES
    if trailer_start < len(MAGIC):
        return None
    trailer = source.read_at(trailer_start, TRAILER_BYTES)
    if not trailer.endswith(MAGIC) or parse_head(trailer) != (
        Opcode.FOOTER,
        TRAILER_BYTES - HEAD_BYTES - len(MAGIC),
    ):
        return None
    footer = parse_footer(trailer[HEAD_BYTES : -len(MAGIC)])
    start = footer.summary_start
    if start == 0:
        return Summary(data_end=trailer_start - DATA_END_BYTES, flaw="the file has no summary")
    summary = Summary(data_end=start - DATA_END_BYTES)
    if not len(MAGIC) + DATA_END_BYTES <= start <= trailer_start:
        return Summary(
            data_end=trailer_start, flaw="the footer points outside the file", flaw_is_damage=True
        )
    if trailer_start - start > SUMMARY_BYTES_MAX:
        return Summary(data_end=trailer_start, flaw="the summary is too long")
    data = source.read_at(start, trailer_start - start)
    summary.flaw = _crc_flaw(data, trailer, footer)
    if not summary.flaw:
        try:
            _parse(summary, data)
        except DamagedRecordingError as error:
            summary.flaw = f"the summary is damaged: {error.message}"
    if summary.flaw:
        return Summary(data_end=trailer_start, flaw=summary.flaw, flaw_is_damage=True)
    return summary


def _crc_flaw(summary: bytes, trailer: bytes, footer: Footer) -> str:
    """Check the summary's checksum, which covers the footer up to the checksum itself."""
    covered = trailer[: -len(MAGIC) - 4]
    if footer.summary_crc and zlib.crc32(covered, zlib.crc32(summary)) != footer.summary_crc:
        return "the summary's checksum is wrong"
    return ""


def _parse(summary: Summary, data: bytes) -> None:
    """Fill in what the summary section holds."""
    view = memoryview(data)
    chunks: dict[int, ChunkIndex] = {}
    position = 0
    while position < len(data):
        if position + HEAD_BYTES > len(data):
            raise DamagedRecordingError("it ends inside a record")
        opcode, length = parse_head(data, position)
        content = view[position + HEAD_BYTES : position + HEAD_BYTES + length]
        if len(content) < length:
            raise DamagedRecordingError("a record reaches past its end")
        position += HEAD_BYTES + length
        match opcode:
            case Opcode.SCHEMA:
                summary.schemas.append(parse_schema(content))
            case Opcode.CHANNEL:
                summary.channels.append(parse_channel(content))
            case Opcode.CHUNK_INDEX:
                # A chunk that is listed twice is still one chunk.
                chunk = parse_chunk_index(content)
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
        if (
            chunk.start < reached
            or chunk.start + chunk.length + chunk.index_bytes > summary.data_end
        ):
            raise DamagedRecordingError("its chunks overlap or lie outside the file")
        reached = chunk.start + chunk.length + chunk.index_bytes
