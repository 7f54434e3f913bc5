"""The records of MCAP as values: opcodes, layouts and parsers that never read past their bytes.

Source: the MCAP specification, format version 0 (magic, records, opcodes). All numbers are little
endian; a record is an opcode (1 byte), the length of its content (8 bytes) and the content; text
and arrays carry their length in bytes (4) in front.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from bridge.errors import DamagedRecordingError

MAGIC = b"\x89MCAP0\r\n"


class Opcode(IntEnum):
    """What a record is."""

    HEADER = 0x01
    FOOTER = 0x02
    SCHEMA = 0x03
    CHANNEL = 0x04
    MESSAGE = 0x05
    CHUNK = 0x06
    MESSAGE_INDEX = 0x07
    CHUNK_INDEX = 0x08
    ATTACHMENT = 0x09
    ATTACHMENT_INDEX = 0x0A
    STATISTICS = 0x0B
    METADATA = 0x0C
    METADATA_INDEX = 0x0D
    SUMMARY_OFFSET = 0x0E
    DATA_END = 0x0F


OPCODE_PRIVATE_MIN = 0x80
"""Opcodes from here on belong to applications; readers skip them."""

TEXT = -4
"""In a layout: bytes that carry their length in front, in 4 bytes."""

LONG_BLOB = -8
"""In a layout: bytes that carry their length in front, in 8 bytes."""

LAYOUTS: Mapping[int, tuple[int, ...]] = {
    Opcode.HEADER: (TEXT, TEXT),
    Opcode.FOOTER: (20,),
    Opcode.SCHEMA: (2, TEXT, TEXT, TEXT),
    Opcode.CHANNEL: (4, TEXT, TEXT, TEXT),
    Opcode.CHUNK: (28, TEXT, LONG_BLOB),
    Opcode.MESSAGE_INDEX: (2, TEXT),
    Opcode.CHUNK_INDEX: (32, TEXT, 8, TEXT, 16),
    Opcode.ATTACHMENT: (16, TEXT, TEXT, LONG_BLOB, 4),
    Opcode.ATTACHMENT_INDEX: (40, TEXT, TEXT),
    Opcode.STATISTICS: (42, TEXT),
    Opcode.METADATA: (TEXT, TEXT),
    Opcode.METADATA_INDEX: (16, TEXT),
    Opcode.SUMMARY_OFFSET: (17,),
    Opcode.DATA_END: (4,),
}
"""Of what each record but a message consists: plain bytes (how many), or one of the above."""

HEAD = struct.Struct("<BQ")
"""The start of every record: opcode and length."""

HEAD_BYTES = HEAD.size
MESSAGE_CONTENT_BYTES_MIN = 22
"""Channel, sequence, log time and publish time; the payload follows."""

MESSAGE_HEAD_BYTES = HEAD_BYTES + MESSAGE_CONTENT_BYTES_MIN
FOOTER_CONTENT_BYTES = 20
TRAILER_BYTES = HEAD_BYTES + FOOTER_CONTENT_BYTES + len(MAGIC)
DATA_END_BYTES = HEAD_BYTES + 4

CHUNK_HEAD_BYTES_MAX = 128
"""Enough to parse everything of a chunk record before its records, for every known compression."""

_CODEC_NAMES = {"none": ""}
"""What writers call a compression by other names than the specification."""

EXPANSION_MAX = {"": 1, "lz4": 256, "zstd": 1 << 20}
"""How many bytes one compressed byte can become at the most, by compression.

LZ4 spends a byte per 255 of a run. Zstandard spends 3 bytes and a header on a block of 128 KiB.
"""

_ID_AND_NUMBER = struct.Struct("<HQ")
"""One entry of a map of ids to numbers."""

_CHUNK_HEAD = struct.Struct("<BQ16xQI")
"""The start of a chunk record: opcode, length, times (left out), uncompressed size and CRC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A message definition as the file holds it."""

    id: int
    name: str
    encoding: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRecord:
    """A stream of messages as the file declares it."""

    id: int
    schema_id: int
    topic: str
    message_encoding: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkHead:
    """Everything of a chunk record before its records.

    Attributes:
        uncompressed_bytes: What its records claim to be after decompression.
        crc: CRC-32 of the decompressed records, or 0 for none.
        compression: Empty, `lz4` or `zstd`.
        records_start: Where the (compressed) records start, counted from the record's opcode.
        records_bytes: How long they are, as the chunk says; at most what the record has room for.
        spare_bytes: What the record has behind them; a later version of the format, or padding.
    """

    uncompressed_bytes: int
    crc: int
    compression: str
    records_start: int
    records_bytes: int
    spare_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkIndex:
    """Where a chunk record and the message index records behind it are.

    Attributes:
        start: First byte of the chunk record.
        length: Bytes of the chunk record, head included.
        channels: How many channels it has message indexes for.
        index_bytes: Bytes of all its message index records.
    """

    start: int
    length: int
    channels: int
    index_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the writer counted, and its first and last record time in ns."""

    message_count: int
    channel_message_counts: Mapping[int, int]
    start_ns: int = 0
    end_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """Where the summary is; zero for none."""

    summary_start: int
    summary_offset_start: int
    summary_crc: int


class Fields:
    """The content of one record, taken field by field; too little of it is an error, not a crash.

    Attributes:
        position: Where the next field starts.
    """

    __slots__ = ("_data", "_end", "position")

    def __init__(self, data: bytes | memoryview, start: int = 0) -> None:
        self._data = memoryview(data)
        self._end = len(data)
        self.position = start

    def number(self, width: int) -> int:
        """Take an unsigned number of `width` bytes."""
        return int.from_bytes(self._take(width), "little")

    def text(self) -> str:
        """Take a text; bytes that are no UTF-8 become replacement characters."""
        return str(self._take(self.number(4)), "utf-8", "replace")

    def blob(self) -> memoryview:
        """Take bytes that carry their length in front, as a view."""
        return self._take(self.number(4))

    def texts_by_text(self) -> dict[str, str]:
        """Take a map of text to text."""
        inner = Fields(self.blob())
        found = {}
        while not inner.at_end():
            key = inner.text()
            found[key] = inner.text()
        return found

    def numbers_by_id(self) -> dict[int, int]:
        """Take a map of 2-byte ids to 8-byte numbers."""
        return dict(_ID_AND_NUMBER.iter_unpack(self._pairs()))

    def ids(self) -> frozenset[int]:
        """Take the ids of a map of 2-byte ids to 8-byte numbers."""
        # Every chunk of a summary has one, with an entry for each of its channels.
        content, step = bytes(self._pairs()), _ID_AND_NUMBER.size
        count = len(content) // step
        ids = bytearray(2 * count)
        ids[::2], ids[1::2] = content[::step], content[1::step]
        return frozenset(struct.unpack(f"<{count}H", ids))

    def at_end(self) -> bool:
        """Tell whether every byte was taken."""
        return self.position == self._end

    def _pairs(self) -> memoryview:
        content = self.blob()
        if len(content) % _ID_AND_NUMBER.size:
            raise DamagedRecordingError("a field reaches past the end of its record")
        return content

    def _take(self, size: int) -> memoryview:
        start = self.position
        if size > self._end - start:
            raise DamagedRecordingError("a field reaches past the end of its record")
        self.position = start + size
        return self._data[start : start + size]


def parse_head(data: bytes | memoryview, offset: int = 0) -> tuple[int, int]:
    """Take opcode and content length of the record at an offset; 9 bytes must be there."""
    opcode, length = HEAD.unpack_from(data, offset)
    return opcode, length


def parse_schema(content: bytes | memoryview) -> Schema:
    """Parse a schema record's content.

    Raises:
        DamagedRecordingError: The content is too short.
    """
    fields = Fields(content)
    return Schema(
        id=fields.number(2),
        name=fields.text(),
        encoding=fields.text(),
        data=bytes(fields.blob()),
    )


def parse_channel(content: bytes | memoryview) -> ChannelRecord:
    """Parse a channel record's content.

    Raises:
        DamagedRecordingError: The content is too short.
    """
    fields = Fields(content)
    return ChannelRecord(
        id=fields.number(2),
        schema_id=fields.number(2),
        topic=fields.text(),
        message_encoding=fields.text(),
        metadata=fields.texts_by_text(),
    )


def parse_chunk_head(record: bytes | memoryview, *, record_bytes: int | None = None) -> ChunkHead:
    """Parse a chunk record up to its records.

    Args:
        record: Starts at the chunk's opcode and may be cut behind the head.
        record_bytes: How long the record is where that is known better than from the record
            itself; then its opcode and its length do not matter. None to believe the record.

    Raises:
        DamagedRecordingError: It is no chunk, or its records are longer than itself.
    """
    if len(record) < HEAD_BYTES or (record_bytes is None and record[0] != Opcode.CHUNK):
        raise DamagedRecordingError("there is no chunk record where one should be")
    if len(record) < _CHUNK_HEAD.size:
        raise DamagedRecordingError("a field reaches past the end of its record")
    _, length, uncompressed_bytes, crc = _CHUNK_HEAD.unpack_from(record)
    fields = Fields(record, _CHUNK_HEAD.size)
    compression = _CODEC_NAMES.get(name := fields.text().lower(), name)
    records_bytes = fields.number(8)
    room = (HEAD_BYTES + length if record_bytes is None else record_bytes) - fields.position
    if room < 0 or (record_bytes is None and records_bytes > room):
        raise DamagedRecordingError("a chunk's lengths contradict each other")
    records_bytes = min(records_bytes, room)
    return ChunkHead(
        uncompressed_bytes=uncompressed_bytes,
        crc=crc,
        compression=compression,
        records_start=fields.position,
        records_bytes=records_bytes,
        spare_bytes=room - records_bytes,
    )


def parse_chunk_index(content: bytes | memoryview, indexed: set[int]) -> ChunkIndex:
    """Parse a chunk index record's content.

    Args:
        content: The record's content.
        indexed: Gets the channels that the chunk has message indexes for. A chunk does not keep
            them: a long recording has a hundred thousand.

    Raises:
        DamagedRecordingError: The content is too short.
    """
    fields = Fields(content, 16)
    start, length, ids = fields.number(8), fields.number(8), fields.ids()
    indexed |= ids
    return ChunkIndex(start=start, length=length, channels=len(ids), index_bytes=fields.number(8))


def parse_statistics(content: bytes | memoryview) -> Statistics:
    """Parse a statistics record's content.

    Raises:
        DamagedRecordingError: The content is too short.
    """
    fields = Fields(content)
    message_count = fields.number(8)
    # Numbers of schemas (2), channels, attachments, metadata, chunks (4 each).
    fields.number(2 + 4 * 4)
    start_ns, end_ns = fields.number(8), fields.number(8)
    return Statistics(
        message_count=message_count,
        channel_message_counts=fields.numbers_by_id(),
        start_ns=start_ns,
        end_ns=end_ns,
    )


def parse_footer(content: bytes | memoryview) -> Footer:
    """Parse a footer record's content.

    Raises:
        DamagedRecordingError: The content is too short.
    """
    fields = Fields(content)
    return Footer(
        summary_start=fields.number(8),
        summary_offset_start=fields.number(8),
        summary_crc=fields.number(4),
    )


def parse_metadata(content: bytes | memoryview) -> tuple[str, dict[str, str]]:
    """Parse a metadata record's content into its name and its entries.

    Raises:
        DamagedRecordingError: The content is too short.
    """
    fields = Fields(content)
    return fields.text(), fields.texts_by_text()


def parse_attachment_head(content: bytes | memoryview) -> tuple[str, str, int]:
    """Parse an attachment record's content up to its data: name, media type, size in bytes.

    Raises:
        DamagedRecordingError: The content is too short.
    """
    fields = Fields(content, 16)
    return fields.text(), fields.text(), fields.number(8)


def fields_length(opcode: int, content: bytes | memoryview) -> int:
    """Compute from the start of a record's content how long its fields say that it is.

    Args:
        opcode: A key of `LAYOUTS`.
        content: The content, at least up to its last length.

    Raises:
        DamagedRecordingError: The content is too short to tell.
    """
    fields = Fields(content)
    length = 0
    for part in LAYOUTS[opcode]:
        fields.position = length
        length += part if part > 0 else fields.number(-part) - part
    return length
