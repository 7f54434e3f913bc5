"""Making MCAP files for tests, and walking them slowly with code that shares nothing with ours.

The files are written by the `mcap` library, or record by record by hand where it cannot. The judge
reads a file from front to back, one record at a time, and remembers which bytes each message stands
on, so that tests can tell what damage may take away.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lz4.frame
import pyarrow as pa
from mcap.reader import make_reader
from mcap.writer import CompressionType, IndexType, Writer

from bridge.bags.container import ContainerReader, ReadLimits, ReadTally
from bridge.bags.mcap.reader import McapReader
from bridge.bags.source import FileSource

MAGIC = b"\x89MCAP0\r\n"
SHARED = Path(__file__).parents[4] / "shared" / "bags"
REAL = sorted(SHARED.glob("*/*.mcap"))


class Seen(NamedTuple):
    """One message as a test compares it."""

    topic: str
    log_time: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Placed:
    """A message and the bytes of the file that it stands on.

    Attributes:
        seen: The message.
        start: First byte of its record, or of its chunk where that is compressed.
        end: One past the last of these.
        chunk: The bytes of its chunk; None outside of chunks.
        has_crc: Whether the chunk carries a checksum.
    """

    seen: Seen
    start: int
    end: int
    chunk: tuple[int, int] | None = None
    has_crc: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What our reader made of a file."""

    messages: list[Seen]
    healthy: bool
    tally: ReadTally
    skipped: dict[tuple[str, str], int]


def read_with_ours(path: Path, *, limits: ReadLimits | None = None) -> Result:
    """Read a file with the reader under test, checking the shape of every block."""
    with McapReader(FileSource(path), limits=limits or ReadLimits()) as reader:
        messages = []
        for block in reader.blocks():
            assert not block.data.flags.writeable
            assert len(block.log_times_ns) == len(block.starts) == len(block.ends) > 0
            topic = reader.channels[block.channel].topic
            messages += [
                Seen(topic, int(time), block.data[start:end].tobytes())
                for time, start, end in zip(
                    block.log_times_ns, block.starts, block.ends, strict=True
                )
            ]
        return Result(messages, reader.healthy, reader.tally, by_topic(reader))


def by_topic(reader: ContainerReader) -> dict[tuple[str, str], int]:
    """Name the topics of skipped messages; empty where they belong to none."""
    names = [*(channel.topic for channel in reader.channels), ""]
    counted: Counter[tuple[str, str]] = Counter()
    for (channel, reason), count in reader.tally.skipped.items():
        counted[names[channel], reason] += count
    return dict(counted)


def read_with_library(path: Path) -> list[Seen]:
    """Read a whole file with the `mcap` library, in file order."""
    with path.open("rb") as file:
        return [
            Seen(channel.topic, message.log_time, message.data)
            for _, channel, message in make_reader(file).iter_messages(log_time_order=False)
        ]


def same_per_topic(found: Iterable[Seen], expected: Iterable[Seen]) -> bool:
    """Compare two readings: the same messages in the same order on every topic."""
    return _by_topic(found) == _by_topic(expected)


def _by_topic(messages: Iterable[Seen]) -> dict[str, list[Seen]]:
    grouped: dict[str, list[Seen]] = {}
    for message in messages:
        grouped.setdefault(message.topic, []).append(message)
    return grouped


# --- the judge -----------------------------------------------------------------------------------


def place_messages(data: bytes) -> list[Placed]:
    """Walk an undamaged file slowly and say where each message stands."""
    placed: list[Placed] = []
    topics: dict[int, str] = {}
    position = len(MAGIC)
    while position < len(data) - len(MAGIC):
        opcode, length = struct.unpack_from("<BQ", data, position)
        content = data[position + 9 : position + 9 + length]
        end = position + 9 + length
        if opcode == 0x04:
            topics[content[0] | content[1] << 8] = _text(content, 4)
        elif opcode == 0x05:
            placed.append(Placed(_seen(content, topics), position, end))
        elif opcode == 0x06:
            placed += _place_in_chunk(content, position, end, topics)
        position = end
    return placed


def place_declarations(data: bytes) -> list[tuple[int, int]]:
    """Walk an undamaged file and list the bytes that plain schemas and channels stand on."""
    found = []
    position = len(MAGIC)
    while position < len(data) - len(MAGIC):
        opcode, length = struct.unpack_from("<BQ", data, position)
        if opcode in {0x03, 0x04}:
            found.append((position, position + 9 + length))
        if opcode == 0x06 and not _text(data, position + 9 + 28):
            # Step into the records of a plain chunk.
            length = 28 + 4 + 8
        position += 9 + length
    return found


def _place_in_chunk(
    content: bytes, start: int, end: int, topics: dict[int, str]
) -> Iterable[Placed]:
    size, crc = struct.unpack_from("<QI", content, 16)
    compression = _text(content, 28)
    records_at = 28 + 4 + len(compression) + 8
    packed = content[records_at:]
    records = {"": bytes, "lz4": lz4.frame.decompress, "zstd": _unzstd(size)}[compression](packed)
    base = start + 9 + records_at
    position = 0
    while position < len(records):
        opcode, length = struct.unpack_from("<BQ", records, position)
        inner = records[position + 9 : position + 9 + length]
        if opcode == 0x04:
            topics[inner[0] | inner[1] << 8] = _text(inner, 4)
        elif opcode == 0x05:
            where = (base + position, base + position + 9 + length)
            if compression:
                where = (start, end)
            yield Placed(_seen(inner, topics), *where, chunk=(start, end), has_crc=crc != 0)
        position += 9 + length


def _unzstd(size: int) -> Any:
    return lambda packed: pa.decompress(packed, size, codec="zstd", asbytes=True)


def _text(data: bytes, offset: int) -> str:
    (length,) = struct.unpack_from("<I", data, offset)
    return data[offset + 4 : offset + 4 + length].decode()


def _seen(content: bytes, topics: dict[int, str]) -> Seen:
    channel, _, log_time, _ = struct.unpack_from("<HIQQ", content, 0)
    return Seen(topics.get(channel, "?"), log_time, content[22:])


# --- files by the library ------------------------------------------------------------------------


def sample(count: int = 300, topics: int = 3) -> list[Seen]:
    """Make messages on several topics, sizes from 4 bytes to some 100, no two alike."""
    return [
        Seen(
            f"/topic{number % topics}",
            1_000_000_000 + number * 10_000_000,
            struct.pack("<BBHI", 0, 1, 0, number) + bytes([number % 251]) * (number * 7 % 131),
        )
        for number in range(count)
    ]


def write_with_library(
    path: Path,
    messages: Sequence[Seen],
    *,
    compression: CompressionType = CompressionType.NONE,
    chunk_size: int = 4096,
    index_types: IndexType = IndexType.ALL,
    **options: Any,
) -> None:
    """Write ROS 2 strings with the `mcap` library."""
    with path.open("wb") as file:
        writer = Writer(
            file,
            chunk_size=chunk_size,
            compression=compression,
            index_types=index_types,
            **options,
        )
        writer.start(profile="ros2", library="test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channels: dict[str, int] = {}
        for number, message in enumerate(messages):
            if message.topic not in channels:
                channels[message.topic] = writer.register_channel(message.topic, "cdr", schema)
            writer.add_message(
                channels[message.topic],
                log_time=message.log_time,
                publish_time=message.log_time,
                sequence=number,
                data=message.data,
            )
        writer.finish()  # type: ignore[no-untyped-call]


# --- files by hand -------------------------------------------------------------------------------


def record(opcode: int, content: bytes, *, length: int | None = None) -> bytes:
    """Make a record: opcode (1), length (8), content."""
    return struct.pack("<BQ", opcode, len(content) if length is None else length) + content


def text(value: str | bytes) -> bytes:
    """Make a text: length (4), bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(raw)) + raw


def header(profile: str = "ros2", library: str = "by hand") -> bytes:
    """Make a header: profile, library."""
    return record(0x01, text(profile) + text(library))


def schema(
    schema_id: int,
    name: str = "std_msgs/msg/String",
    encoding: str = "ros2msg",
    data: bytes = b"string data\n",
) -> bytes:
    """Make a schema: id (2), name, encoding, data."""
    return record(0x03, struct.pack("<H", schema_id) + text(name) + text(encoding) + text(data))


def channel(
    channel_id: int,
    schema_id: int,
    topic: str,
    encoding: str = "cdr",
    metadata: dict[str, str] | None = None,
) -> bytes:
    """Make a channel: id (2), schema id (2), topic, message encoding, metadata."""
    pairs = b"".join(text(key) + text(value) for key, value in (metadata or {}).items())
    ids = struct.pack("<HH", channel_id, schema_id)
    return record(0x04, ids + text(topic) + text(encoding) + text(pairs))


def message(channel_id: int, log_time: int, data: bytes = b"\x00\x01\x00\x00") -> bytes:
    """Make a message: channel id (2), sequence (4), log time (8), publish time (8), data."""
    return record(0x05, struct.pack("<HIQQ", channel_id, 0, log_time, log_time) + data)


def chunk(
    records: bytes,
    *,
    compression: str = "",
    crc: int | None = 0,
    claimed_bytes: int | None = None,
    packed: bytes | None = None,
) -> bytes:
    """Make a chunk: times (8, 8), size (8), CRC (4), compression, length (8), records.

    A `crc` of None is computed, `packed` is what to write in place of the compressed records.
    """
    if packed is None:
        codec = compression.lower().removeprefix("none")
        packed = pa.compress(records, codec=codec, asbytes=True) if codec else records
    size = len(records) if claimed_bytes is None else claimed_bytes
    checksum = zlib.crc32(records) if crc is None else crc
    head = struct.pack("<QQQI", 0, 0, size, checksum) + text(compression)
    return record(0x06, head + struct.pack("<Q", len(packed)) + packed)


def message_index(channel_id: int, entries: Sequence[tuple[int, int]]) -> bytes:
    """Make a message index: channel id (2), entries of time (8) and offset (8)."""
    pairs = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    return record(0x07, struct.pack("<H", channel_id) + text(pairs))


def chunk_index(start: int, length: int, indexes: dict[int, int], index_bytes: int) -> bytes:
    """Make a chunk index: times, start (8), length (8), index offsets, and the rest."""
    pairs = b"".join(struct.pack("<HQ", *item) for item in indexes.items())
    head = struct.pack("<QQQQ", 0, 0, start, length) + text(pairs)
    return record(0x08, head + struct.pack("<Q", index_bytes) + text("") + bytes(16))


def statistics(counts: dict[int, int], *, total: int | None = None) -> bytes:
    """Make statistics: counts, times, messages by channel."""
    pairs = b"".join(struct.pack("<HQ", *item) for item in counts.items())
    head = struct.pack("<QHIIIIQQ", total or sum(counts.values()), 1, len(counts), 0, 0, 0, 0, 0)
    return record(0x0B, head + text(pairs))


def finished(body: bytes, summary: bytes = b"") -> bytes:
    """Put a data section and a summary between magics, with DataEnd and footer."""
    data = MAGIC + header() + body + record(0x0F, bytes(4))
    summary_start = len(data) if summary else 0
    return data + summary + record(0x02, struct.pack("<QQI", summary_start, 0, 0)) + MAGIC
