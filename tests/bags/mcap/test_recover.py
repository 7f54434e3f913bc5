"""Ours saves at least what a tool like `mcap recover` saves of damaged files.

The tool here is a single pass over the record reader of the `mcap` library: it stops at the first
record that does not fit and at the first chunk that cannot be decompressed, and keeps what came
before, also of chunks whose checksum is wrong.
"""

import io
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from tests.bags.mcap.damaged_files import Damaged, damaged_files
from tests.bags.mcap.mcap_files import Seen, place_messages, read_with_ours

RECORD_BYTES_MAX = 1_000_000_000

FAST = (
    "none_bare_zero_tail",
    "none_crc_flip_opcode",
    "lz4_crc_flip_size",
    "lz4_bare_cut_inside",
    "zstd_crc_flip_crc",
    "zstd_bare_zero_tail",
    "zstd_crc_flip_length",
    "unchunked_flip_length",
    "extras_attachment_length",
)


def recovered(data: bytes) -> Counter[Seen]:
    """Read on to the first thing that is wrong, and keep everything before it."""
    topics: dict[int, str] = {}
    found: list[Seen] = []

    def take(record: object) -> None:
        if isinstance(record, Channel):
            topics[record.id] = record.topic
        elif isinstance(record, Message) and record.channel_id in topics:
            found.append(Seen(topics[record.channel_id], record.log_time, record.data))

    reader = StreamReader(io.BytesIO(data), emit_chunks=True, record_size_limit=RECORD_BYTES_MAX)
    # Whatever it is that the library raises is where such a tool stops.
    with suppress(Exception):
        for record in reader.records:
            if isinstance(record, Chunk):
                for inner in records_of(record):
                    take(inner)
            else:
                take(record)
    return Counter(found)


def records_of(chunk: Chunk) -> list[object]:
    """Read the records of a chunk up to the first that is wrong."""
    stream, size = get_chunk_data_stream(chunk)
    found: list[object] = []
    with suppress(Exception):
        while stream.count < size:
            opcode, length = stream.read1(), stream.read8()
            if opcode == Opcode.MESSAGE:
                found.append(Message.read(stream, length))
            elif opcode == Opcode.CHANNEL:
                found.append(Channel.read(stream))
            elif opcode == Opcode.SCHEMA:
                found.append(Schema.read(stream))
            else:
                stream.read(length)
    return found


def check(damaged: Damaged, path: Path) -> tuple[int, int]:
    """Compare the two on one file; return what each saved of what was recorded."""
    path.write_bytes(damaged.data)
    recorded = Counter(place.seen for place in place_messages(damaged.whole))
    theirs = recovered(damaged.data)
    ours = Counter(read_with_ours(path).messages)

    assert not (theirs & recorded) - ours, f"{damaged.name}: the other tool saves more"
    assert ours.total() >= theirs.total(), f"{damaged.name}: the other tool keeps more"
    return (ours & recorded).total(), (theirs & recorded).total()


@pytest.fixture(scope="module")
def files() -> dict[str, Damaged]:
    return {damaged.name: damaged for damaged in damaged_files()}


def test_there_are_166_files_and_none_is_whole(files: dict[str, Damaged]) -> None:
    """All differ from what they were made of, and from each other."""
    assert len(files) == 166
    assert all(damaged.data != damaged.whole for damaged in files.values())
    assert len({damaged.data for damaged in files.values()}) > 150


@pytest.mark.parametrize("name", FAST)
def test_ours_saves_at_least_as_much(name: str, files: dict[str, Damaged], tmp_path: Path) -> None:
    """A handful of the files, one of each kind of damage."""
    check(files[name], tmp_path / "a.mcap")


@pytest.mark.slow
def test_ours_saves_at_least_as_much_of_every_file(
    files: dict[str, Damaged], tmp_path: Path
) -> None:
    """All of them; and more in sum, since ours finds its way back after damage."""
    saved = [check(damaged, tmp_path / "a.mcap") for damaged in files.values()]

    assert sum(ours for ours, _ in saved) > 1.05 * sum(theirs for _, theirs in saved)
