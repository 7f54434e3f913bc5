"""No claim of a writer decides what is read: the data count, and the report names the wrong claim.

Every file here holds the same messages, all of them intact, and says something about them that is
not so, or has something beside them that readers are to ignore.
"""

import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pyarrow as pa
import pytest

from bridge.bags import load_recording, open_recording
from tests.bags.mcap import mcap_files as made

CHUNKS = 4
PER_CHUNK = 3
TIMES = range(1, CHUNKS * PER_CHUNK + 1)

DECLARED = made.schema(1) + made.channel(1, 1, "/a")
START = len(made.MAGIC + made.header())


def payload(number: int) -> bytes:
    return b"\x00\x01\x00\x00" + struct.pack("<I", 5) + b"%04d\x00" % number


def records(number: int) -> bytes:
    """The records of a chunk; the first one declares the channel."""
    first = number * PER_CHUNK + 1
    return (DECLARED if number == 0 else b"") + b"".join(
        made.message(1, time, payload(time)) for time in range(first, first + PER_CHUNK)
    )


def whole(
    *,
    compression: str = "",
    crc: int | None = None,
    altered: Callable[[bytes], bytes] = lambda chunk: chunk,
    behind: bytes = b"",
    index: Callable[[int, int, int], bytes] | None = None,
    statistics: bytes | None = None,
    claimed_bytes: int | None = None,
    packed: Callable[[bytes], bytes] | None = None,
    summary_start: int | None = None,
) -> bytes:
    """Make a file of four chunks, of which the third is altered, with a summary that lists them.

    Args:
        compression: Of all chunks.
        crc: Of all chunks; None for the right one.
        altered: Makes the third chunk another.
        behind: What follows the third chunk's message index.
        index: Makes the third chunk's entry from its start, its length and its indexes' length.
        statistics: The statistics; None for right ones.
        claimed_bytes: The third chunk's uncompressed size; None for the right one.
        packed: Makes the third chunk's stored records from its plain ones.
        summary_start: What the footer says; None for the right place.
    """
    body, entries = b"", b""
    for number in range(CHUNKS):
        third = number == 2
        plain = records(number)
        chunk = made.chunk(
            plain,
            compression=compression,
            crc=crc,
            claimed_bytes=claimed_bytes if third else None,
            packed=packed(plain) if third and packed else None,
        )
        chunk = altered(chunk) if third else chunk
        offset = len(DECLARED) if number == 0 else 0
        size = len(made.message(1, 1, payload(1)))
        pairs = [(0, offset + size * place) for place in range(PER_CHUNK)]
        indexes = made.message_index(1, pairs)
        start = START + len(body)
        listed = (start, len(chunk), len(indexes))
        entries += (
            index(*listed)
            if third and index
            else made.chunk_index(start, len(chunk), {1: start + len(chunk)}, len(indexes))
        )
        body += chunk + indexes + (behind if third else b"")
    counts = made.statistics({1: len(TIMES)}) if statistics is None else statistics
    data = made.finished(body, DECLARED + counts + entries)
    if summary_start is not None:
        footer = len(data) - len(made.MAGIC) - 20
        data = data[:footer] + struct.pack("<Q", summary_start) + data[footer + 8 :]
    return data


def padded(chunk: bytes, spare: bytes) -> bytes:
    """Put bytes behind a chunk's records, within its record."""
    return made.record(0x06, chunk[9:] + spare)


def put(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value) :]


def entry(
    moved: int,
    longer: int,
    *,
    indexes_bytes: int | None = None,
    longer_indexes: int = 0,
    twice: bool = False,
) -> Callable[[int, int, int], bytes]:
    """Make an entry of the chunk index that is wrong about place and length."""

    def made_entry(start: int, length: int, indexes: int) -> bytes:
        told = indexes + longer_indexes if indexes_bytes is None else indexes_bytes
        return made.chunk_index(start + moved, length + longer, {1: 0}, told) * (1 + twice)

    return made_entry


# Of a chunk: opcode (1), length (8), times (8, 8), size (8), CRC (4), length of the compression's
# name (4), the name, length of the records (8).
LENGTH, NAME = 1, 9 + 28
INNER = NAME + 4

SPARE = b"\x01\xff\xff"
OTHER = made.channel(2, 1, "/b")

FILES: dict[str, tuple[bytes, str]] = {
    "counts absent": (whole(statistics=made.statistics({}, total=len(TIMES))), ""),
    "counts of zero": (whole(statistics=made.statistics({1: 0}, total=0)), "counts 0 messages"),
    "counts too low": (whole(statistics=made.statistics({1: 5})), "counts 5 messages"),
    "counts too high": (whole(statistics=made.statistics({1: 99})), "counts 99 messages"),
    "total that contradicts the counts": (
        whole(statistics=made.statistics({1: len(TIMES)}, total=77)), "",
    ),
    "counts of a channel that is none": (
        whole(statistics=made.statistics({1: len(TIMES), 9: 4})), "",
    ),
    "padding behind plain records": (
        whole(altered=lambda chunk: padded(chunk, SPARE)), "bytes behind their records",
    ),
    "padding of zeros": (
        whole(altered=lambda chunk: padded(chunk, bytes(40))), "bytes behind their records",
    ),
    "much padding": (
        whole(altered=lambda chunk: padded(chunk, b"\xa5" * 5000)), "bytes behind their records",
    ),
    "padding behind lz4": (
        whole(compression="lz4", altered=lambda chunk: padded(chunk, SPARE)),
        "bytes behind their records",
    ),
    "padding behind zstd": (
        whole(compression="zstd", altered=lambda chunk: padded(chunk, SPARE)),
        "bytes behind their records",
    ),
    "bytes behind a zstd frame": (
        whole(
            compression="zstd",
            packed=lambda plain: pa.compress(plain, codec="zstd", asbytes=True) + SPARE,
        ),
        "longer or shorter than they say",
    ),
    "bytes behind an lz4 frame": (
        whole(compression="lz4", packed=lambda plain: lz4.frame.compress(plain) + SPARE),
        "longer or shorter than they say",
    ),
    "two zstd frames and one without content": (
        whole(
            compression="zstd",
            packed=lambda plain: pa.compress(plain[:50], codec="zstd", asbytes=True)
            + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
            + pa.compress(plain[50:], codec="zstd", asbytes=True),
        ),
        "",
    ),
    "uncompressed size too small": (
        whole(compression="zstd", claimed_bytes=10), "uncompressed size",
    ),
    "uncompressed size of nothing": (
        whole(compression="lz4", claimed_bytes=0), "uncompressed size",
    ),
    "uncompressed size too large": (
        whole(compression="lz4", claimed_bytes=100_000), "uncompressed size",
    ),
    "uncompressed size beyond all limits": (
        whole(compression="zstd", claimed_bytes=1 << 62), "uncompressed size",
    ),
    "uncompressed size of lz4 beyond all limits": (
        whole(compression="lz4", claimed_bytes=1 << 62), "uncompressed size",
    ),
    "compression of another name": (
        whole(
            compression="zstd",
            altered=lambda chunk: put(chunk, NAME + 4, b"lz4x"),
        ),
        "compression is not",
    ),
    "zstd called plain": (
        whole(
            claimed_bytes=10_000,
            packed=lambda plain: pa.compress(plain, codec="zstd", asbytes=True),
        ),
        "compression is not",
    ),
    "lz4 called zstd": (
        whole(compression="zstd", packed=lz4.frame.compress),
        "compression is not",
    ),
    "records longer than said": (
        whole(altered=lambda chunk: put(chunk, INNER, struct.pack("<Q", 40))),
        "longer or shorter than they say",
    ),
    "records longer than their record": (
        whole(altered=lambda chunk: put(chunk, INNER, struct.pack("<Q", 1 << 40))),
        "placed by other evidence",
    ),
    "chunk of another opcode": (
        whole(altered=lambda chunk: put(chunk, 0, b"\x86")), "placed by other evidence",
    ),
    "chunk of a known opcode": (
        whole(altered=lambda chunk: put(chunk, 0, b"\x07")), "placed by other evidence",
    ),
    "chunk of another length": (
        whole(altered=lambda chunk: put(chunk, LENGTH, struct.pack("<Q", 1 << 33))),
        "placed by other evidence",
    ),
    "index entry at another place": (
        whole(index=entry(7, -20, indexes_bytes=5)),
        "point at no chunk",
    ),
    "index entry of another length": (
        whole(index=entry(0, -9)),
        "another length",
    ),
    "index entry that covers an unlisted chunk": (
        whole(
            index=lambda start, length, indexes: made.chunk_index(
                start, length, {1: 0}, indexes + len(made.chunk(made.message(1, 77, payload(77))))
            ),
            behind=made.chunk(made.message(1, 77, payload(77))),
            statistics=made.statistics({1: len(TIMES) + 1}),
        ),
        "takes for message indexes",
    ),
    "index without a chunk": (whole(index=lambda *_: b""), ""),
    "index entry listed twice": (
        whole(index=entry(0, 0, twice=True)),
        "",
    ),
    "index entries that overlap": (
        whole(index=entry(0, 500)),
        "overlap",
    ),
    "footer that points into the data": (
        whole(summary_start=START + len(made.chunk(records(0), crc=None))), "the summary",
    ),
    "footer that points beyond the file": (whole(summary_start=1 << 40), "no summary"),
    "footer that points nowhere": (whole(summary_start=0), ""),
    "hole of zeros behind a chunk": (whole(behind=bytes(49)), "holes of zeros"),
    "room of zeros behind the end": (whole() + bytes(10_000), "zeros behind the end"),
    "room of zeros behind a file without summary": (
        whole(summary_start=0) + bytes(10_000), "zeros behind the end",
    ),
    "plain called none": (whole(compression="none"), ""),
    "codec in capital letters": (whole(compression="ZSTD"), ""),
    "schemas without a name": (
        made.finished(
            made.schema(9, "", "jsonschema", b"{}") + made.schema(0, "", "", b"")
            + made.channel(9, 9, "") + b"".join(map(records, range(CHUNKS)))
        ),
        "",
    ),
    "padding before a private record": (
        made.finished(
            b"".join(
                padded(made.chunk(records(number)), SPARE) + made.record(0x90, b"ours")
                for number in range(CHUNKS)
            )
        ),
        "bytes behind their records",
    ),
    "padding before a hole": (
        made.finished(
            b"".join(
                padded(made.chunk(records(number)), SPARE) + bytes(49) for number in range(CHUNKS)
            ),
            DECLARED + made.statistics({1: len(TIMES)}),
        ),
        "holes of zeros",
    ),
    "hole before records that are not looked for": (
        made.finished(
            made.chunk(b"".join(map(records, range(CHUNKS))))
            + bytes(30) + made.record(0x0C, made.text("m") + made.text(b"")),
            made.statistics({}, total=len(TIMES)),
        ),
        "holes of zeros",
    ),
    "entries that claim too many message indexes": (
        whole(index=entry(0, 0, longer_indexes=3), behind=made.record(0x90, b"ours")), "",
    ),
    "counts too high beside private records": (
        whole(statistics=made.statistics({1: 99}), behind=made.record(0x90, b"ours" * 9)),
        "counts 99 messages",
    ),
    "chunk within a chunk": (
        made.finished(
            made.chunk(records(0))
            + made.chunk(
                records(1) + made.chunk(records(2), compression="lz4") + records(3),
                compression="zstd",
                crc=None,
            ),
        ),
        "within a chunk",
    ),
    "plain chunks within listed ones": (
        whole(altered=lambda _: made.chunk(made.chunk(records(2)), crc=None)), "within a chunk",
    ),
    "channel that the summary calls otherwise": (
        made.finished(
            b"".join(map(records, range(CHUNKS))),
            made.schema(1) + made.channel(1, 1, "/wrong") + made.statistics({1: len(TIMES)}),
        ),
        "",
    ),
    "channel that the summary lacks": (
        whole(
            behind=made.chunk(OTHER + made.message(2, 77, payload(77))),
            statistics=made.statistics({1: len(TIMES) + 1}),
        ),
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_everything_arrives_and_nothing_is_damage(name: str, tmp_path: Path) -> None:
    """What is there is read, each message once, for reading only; the wrong claim is named."""
    data, claim = FILES[name]
    path = tmp_path / "a.mcap"
    path.write_bytes(data)
    expected = Counter(TIMES)
    if made.message(1, 77, payload(77)) in data or made.message(2, 77, payload(77)) in data:
        expected[77] += 1

    found: Counter[int] = Counter()
    topics = set()
    thorough = False
    for _ in range(2):
        with open_recording(load_recording(path), thorough=thorough) as reader:
            found.clear()
            for block in reader.blocks():
                assert not block.data.flags.writeable
                found.update(block.log_times_ns.tolist())
                topics.add(reader.topics[block.topic].name)
            tally, healthy, thorough = reader.tally, reader.healthy, reader.misled
        if not thorough:
            break

    assert found == expected
    assert topics == ({"/a", "/b"} if b"/b" in data else {"/a"})
    assert healthy
    assert not tally.losses
    assert not tally.skipped
    assert claim in "; ".join(tally.contradictions)
    assert bool(claim) <= bool(tally.contradictions)


def test_chunk_within_a_chunk_that_cannot_be_read_is_a_loss_of_its_size(tmp_path: Path) -> None:
    """What is around it arrives; of a chunk two levels down the size is named, too."""
    bad = made.chunk(records(1), compression="lz4", packed=b"none of lz4")
    deep = made.chunk(made.chunk(records(2)))
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(made.chunk(records(0) + bad + deep + records(3))))
    with open_recording(load_recording(path)) as reader:
        times = [time for block in reader.blocks() for time in block.log_times_ns.tolist()]
        reasons = [loss.reason for loss in reader.tally.losses]

    assert times == [1, 2, 3, 10, 11, 12]
    assert reasons[0].startswith(f"a chunk of {len(bad)} bytes within a chunk: ")
    assert reasons[1:] == [
        f"a chunk of {len(deep)} bytes within a chunk: another chunk is within it"
    ]
