"""Plain chunks side by side: read at once into one buffer, and each on its own when damaged."""

from pathlib import Path

import pyarrow as pa
import pytest

from bridge.bags.container import ReadLimits
from bridge.bags.mcap import stretch as mcap_stretch
from bridge.bags.mcap.reader import McapReader
from bridge.bags.source import FileSource, Source
from bridge.bags.zstd_source import ZstdSource
from bridge.errors import DamagedRecordingError
from tests.bags.mcap import mcap_files as made

CHUNKS = 10
PAYLOAD_BYTES = 1000


class BadDisk(FileSource):
    """A file with one byte that cannot be read; notes how much is asked for at once."""

    def __init__(self, path: Path, *, bad_offset: int = -1) -> None:
        super().__init__(path)
        self.sizes: list[int] = []
        self._bad_offset = bad_offset

    def read_at(self, offset: int, size: int) -> bytes:
        self.sizes.append(size)
        if offset <= self._bad_offset < offset + size:
            raise DamagedRecordingError("the storage cannot be read", path=self.path)
        return super().read_at(offset, size)


def write(path: Path, *, between: bytes = b"", compressed: frozenset[int] = frozenset()) -> None:
    """Write one message a chunk, listed by a summary, with something between the chunks."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    start = len(made.MAGIC + made.header() + declared)
    body, indexes = declared, b""
    for number in range(CHUNKS):
        chunk = made.chunk(
            made.message(1, number, bytes([number]) * PAYLOAD_BYTES),
            compression="zstd" if number in compressed else "",
            crc=None,
        )
        index = made.message_index(1, [(number, 0)])
        indexes += made.chunk_index(start, len(chunk), {1: start + len(chunk)}, len(index))
        body += chunk + index + between
        start += len(chunk) + len(index) + len(between)
    summary = declared + made.statistics({1: CHUNKS}) + indexes
    path.write_bytes(made.finished(body, summary))


def buffers(source: Source) -> tuple[list[int], list[int]]:
    """Read a file: which message came when, and how many messages each buffer held."""
    times, counts, last = [], [], None
    with McapReader(source, limits=ReadLimits()) as reader:
        for block in reader.blocks():
            for time, start, end in zip(block.log_times_ns, block.starts, block.ends, strict=True):
                assert block.data[start:end].tobytes() == bytes([time]) * PAYLOAD_BYTES
                times.append(int(time))
            if block.data is last:
                counts[-1] += len(block.starts)
            else:
                counts.append(len(block.starts))
            last = block.data
    return times, counts


def test_chunks_side_by_side_share_a_buffer(tmp_path: Path) -> None:
    """The whole data section is read at once, and every message is where it should be."""
    write(tmp_path / "a.mcap")
    source = BadDisk(tmp_path / "a.mcap")

    assert buffers(source) == (list(range(CHUNKS)), [CHUNKS])
    assert max(source.sizes) > CHUNKS * PAYLOAD_BYTES
    with McapReader(FileSource(tmp_path / "a.mcap"), limits=ReadLimits()) as reader:
        assert len(list(reader.blocks())) == 1


@pytest.mark.parametrize("bytes_max", [0, 1 << 20], ids=["alone", "together"])
def test_a_channel_declared_again_within_a_stretch_cuts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_max: int
) -> None:
    """What comes before the declaration is of the channel announced, what comes after is not."""
    monkeypatch.setattr(mcap_stretch, "STRETCH_BYTES_MAX", bytes_max)
    announced = made.schema(1) + made.channel(1, 1, "/a")
    again = made.channel(1, 1, "/b")
    body, indexes = announced, b""
    start = len(made.MAGIC + made.header() + announced)
    for number in range(CHUNKS):
        before = again if number == CHUNKS // 2 else b""
        chunk = made.chunk(before + made.message(1, number, b"x"), crc=None)
        index = made.message_index(1, [(number, len(before))])
        indexes += made.chunk_index(start, len(chunk), {1: start + len(chunk)}, len(index))
        body += chunk + index
        start += len(chunk) + len(index)
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(body, announced + made.statistics({1: CHUNKS}) + indexes))
    result = made.read_with_ours(path)

    assert [message.log_time for message in result.messages] == list(range(CHUNKS // 2))
    assert result.skipped == {("", "redeclared_channel"): CHUNKS - CHUNKS // 2}


def test_a_stretch_ends_before_it_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that memory does not grow with the recording."""
    monkeypatch.setattr(mcap_stretch, "STRETCH_BYTES_MAX", 4 * (PAYLOAD_BYTES + 200))
    write(tmp_path / "a.mcap")
    source = BadDisk(tmp_path / "a.mcap")

    assert buffers(source) == (list(range(CHUNKS)), [4, 4, 2])


def test_stretches_of_many_topics_are_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each topic has only a little in a buffer that all of them keep."""
    monkeypatch.setattr(mcap_stretch, "MIXED_STRETCH_BYTES_MAX", 4000)
    few, many = tmp_path / "few.mcap", tmp_path / "many.mcap"
    counts = []
    for path, topics in ((few, 4), (many, 5)):
        made.write_with_library(path, made.sample(300, topics), chunk_size=1000)
        with McapReader(FileSource(path), limits=ReadLimits()) as reader:
            blocks = list(reader.blocks())
        assert sum(len(block.starts) for block in blocks) == 300
        sizes_bytes = {id(block.data): block.data.nbytes for block in blocks}.values()
        counts.append(len(sizes_bytes))

    assert counts[0] == 1
    assert counts[1] > 3
    assert 2000 < max(sizes_bytes) <= 4000


def test_what_is_compressed_or_set_apart_is_read_alone(tmp_path: Path) -> None:
    """Compressed chunks come out in buffers of their own; other records end a stretch."""
    write(tmp_path / "a.mcap", compressed=frozenset({3, 4}))
    write(tmp_path / "b.mcap", between=made.record(0x80, b"private"))

    assert buffers(FileSource(tmp_path / "a.mcap")) == (list(range(CHUNKS)), [3, 1, 1, 5])
    assert buffers(FileSource(tmp_path / "b.mcap")) == (list(range(CHUNKS)), [1] * CHUNKS)


def test_a_compressed_file_is_read_chunk_by_chunk(tmp_path: Path) -> None:
    """Looking far ahead in a stream would mean to start it again."""
    write(tmp_path / "a.mcap")
    packed = tmp_path / "a.mcap.zstd"
    packed.write_bytes(pa.compress((tmp_path / "a.mcap").read_bytes(), codec="zstd", asbytes=True))

    assert buffers(ZstdSource(FileSource(packed), limits=ReadLimits())) == (
        list(range(CHUNKS)),
        [1] * CHUNKS,
    )


def test_a_doubtful_chunk_costs_itself_alone(tmp_path: Path) -> None:
    """Its neighbours in the stretch are read, and the loss has its place in the file."""
    path = tmp_path / "a.mcap"
    write(path)
    content = bytearray(path.read_bytes())
    spot = content.index(bytes([5]) * PAYLOAD_BYTES)
    content[spot] ^= 1
    path.write_bytes(content)
    result = made.read_with_ours(path, limits=ReadLimits(keep_doubtful_chunks=False))
    (lost,) = result.tally.losses
    kept = made.read_with_ours(path)

    assert [message.log_time for message in kept.messages] == list(range(CHUNKS))
    assert kept.tally.unverified_messages == 1
    assert [message.log_time for message in result.messages] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert lost.start_bytes < spot < lost.end_bytes
    assert lost.end_bytes - lost.start_bytes < 2 * PAYLOAD_BYTES
    assert "checksum" in lost.reason


def test_a_bad_spot_on_the_disk_costs_its_chunk_alone(tmp_path: Path) -> None:
    """Where the stretch cannot be read at once, its chunks are tried one by one."""
    path = tmp_path / "a.mcap"
    write(path)
    spot = path.read_bytes().index(bytes([5]) * PAYLOAD_BYTES) + PAYLOAD_BYTES // 2
    with McapReader(BadDisk(path, bad_offset=spot), limits=ReadLimits()) as reader:
        times = [int(time) for block in reader.blocks() for time in block.log_times_ns]
        (lost,) = reader.tally.losses

    assert times == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert lost.start_bytes < spot < lost.end_bytes
    assert lost.end_bytes - lost.start_bytes < 2 * PAYLOAD_BYTES
    assert "cannot be read" in lost.reason


def test_chunks_beyond_the_limit_are_refused_one_by_one(tmp_path: Path) -> None:
    """A stretch is no way around `reading.chunk_bytes_max`."""
    write(tmp_path / "a.mcap")
    result = made.read_with_ours(
        tmp_path / "a.mcap", limits=ReadLimits(chunk_bytes_max=PAYLOAD_BYTES)
    )

    assert result.messages == []
    assert len(result.tally.losses) == CHUNKS
    assert all("the limit is 1000" in lost.reason for lost in result.tally.losses)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({4: [(4, 0)], 5: []}, id="left out"),
        pytest.param({4: [(4, 0), (5, "next")], 5: []}, id="listed by its neighbour"),
        pytest.param({4: [(4, 0), (5, "next")], 5: [(5, 0)]}, id="listed twice"),
        pytest.param({4: [(4, 7)], 5: [(5, 0)]}, id="within a message"),
        pytest.param({4: [(4, -20)], 5: [(5, 0)]}, id="before the chunk"),
        pytest.param({4: [(4, 1 << 63)], 5: [(5, 0)]}, id="beyond everything"),
    ],
)
def test_indexes_that_lie_within_a_stretch_alter_nothing(
    tmp_path: Path, entries: dict[int, list[tuple[int, int | str]]]
) -> None:
    """Each message comes once, whatever the indexes of its chunk or its neighbour's say."""
    declared = made.schema(1) + made.channel(1, 1, "/a")
    start = len(made.MAGIC + made.header() + declared)
    body, indexes = declared, b""
    for number in range(CHUNKS):
        chunk = made.chunk(made.message(1, number, bytes([number]) * PAYLOAD_BYTES), crc=None)
        claimed = entries.get(number, [(number, 0)])
        following = len(chunk) + len(made.message_index(1, [(0, 0)] * len(claimed)))
        index = made.message_index(
            1,
            [
                (time, (following if offset == "next" else int(offset)) % (1 << 64))
                for time, offset in claimed
            ],
        )
        indexes += made.chunk_index(start, len(chunk), {1: start + len(chunk)}, len(index))
        body += chunk + index
        start += len(chunk) + len(index)
    path = tmp_path / "a.mcap"
    path.write_bytes(made.finished(body, declared + made.statistics({1: CHUNKS}) + indexes))
    times, _ = buffers(FileSource(path))

    assert times == list(range(CHUNKS))
