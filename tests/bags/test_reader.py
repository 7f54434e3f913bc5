"""Reading whole recordings: splits, formats, compression, change underneath, bounds."""

import hashlib
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mcap.writer import CompressionType, IndexType

from bridge.bags import ReadLimits, RecordingReader, find_recordings, load_recording, open_recording
from bridge.bags.identity import FileHashes
from bridge.bags.source import FileSource
from bridge.definitions import DefinitionSources
from bridge.errors import (
    DamagedRecordingError,
    NotARecordingError,
    RecordingChangedError,
    RecordingVanishedError,
    UsageError,
)
from tests.bags.mcap import mcap_files as made
from tests.bags.mcap.mcap_files import SHARED, Seen

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"no recordings in {SHARED}")


def messages_of(reader: RecordingReader) -> list[Seen]:
    return [
        Seen(reader.topics[block.topic].name, int(time), block.data[start:end].tobytes())
        for block in reader.blocks()
        for time, start, end in zip(block.log_times_ns, block.starts, block.ends, strict=True)
    ]


def read(path: Path, **options: Any) -> list[Seen]:
    with open_recording(load_recording(path), **options) as reader:
        return messages_of(reader)


def write_splits(folder: Path, messages: list[Seen], *, splits: int = 3) -> Path:
    folder.mkdir()
    size = len(messages) // splits
    for number in range(splits):
        made.write_with_library(
            folder / f"{folder.name}_{number}.mcap",
            messages[number * size : (number + 1) * size],
            compression=CompressionType.ZSTD,
        )
    return folder


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write_splits(tmp_path / "drive", made.sample(300))


@needs_shared
@pytest.mark.parametrize("pair", ["wbag", "talker", "convert_b"])
def test_same_recording_reads_the_same_from_both_formats(pair: str) -> None:
    """What rosbag2 converted from one format to the other has the same messages."""
    from_mcap = Counter(read(SHARED / f"{pair}_mcap"))
    from_sqlite = Counter(read(SHARED / f"{pair}_sqlite3"))
    assert {(seen.topic, seen.data) for seen in from_mcap} == {
        (seen.topic, seen.data) for seen in from_sqlite
    }
    assert from_mcap.total() == from_sqlite.total() > 0


@needs_shared
def test_all_real_recordings_read_to_their_end() -> None:
    """Every real recording gives topics and as many messages as it counts, and nothing is lost."""
    for recording in find_recordings(SHARED):
        with open_recording(recording, definitions=DefinitionSources(distro="jazzy")) as reader:
            count = sum(len(block.starts) for block in reader.blocks())
            assert reader.message_count in {count, None}
            assert reader.tally.losses == []
            assert reader.healthy
            has_checksums = recording.name in {"wbag_mcap", "talker_mcap"}
            assert reader.tally.unverified_messages == (0 if has_checksums else count)
            assert reader.bytes_read == reader.recorded_bytes


def test_splits_are_one_stream_per_topic(drive: Path) -> None:
    """Channels of all splits become one topic each, with the counts of all, read in order."""
    with open_recording(load_recording(drive)) as reader:
        assert [topic.name for topic in reader.topics] == ["/topic0", "/topic1", "/topic2"]
        assert [topic.index for topic in reader.topics] == [0, 1, 2]
        assert [topic.message_count for topic in reader.topics] == [100, 100, 100]
        assert reader.message_count == 300
        assert made.same_per_topic(messages_of(reader), made.sample(300))


def test_topics_with_different_layouts_stay_apart(tmp_path: Path) -> None:
    """One name with another type or serialisation is another topic; a comment makes none."""
    variants = [
        made.schema(1) + made.channel(1, 1, "/a"),
        made.schema(1, data=b"string data # other\n") + made.channel(1, 1, "/a"),
        made.schema(1, "std_msgs/msg/Int32", data=b"int32 data\n") + made.channel(1, 1, "/a"),
        made.schema(1, "std_msgs/String", "ros1msg") + made.channel(1, 1, "/a", "ros1"),
        made.schema(7) + made.channel(9, 7, "/a"),
    ]
    (tmp_path / "d").mkdir()
    for number, declared in enumerate(variants):
        body = made.finished(declared + made.message(9 if number == 4 else 1, number))
        (tmp_path / "d" / f"d_{number}.mcap").write_bytes(body)
    with open_recording(load_recording(tmp_path / "d")) as reader:
        assert [topic.name for topic in reader.topics] == ["/a"] * 3
        blocks = list(reader.blocks())
    assert [(block.topic, int(block.log_times_ns[0])) for block in blocks] == [
        (0, 0), (0, 1), (1, 2), (2, 3), (0, 4)
    ]  # fmt: skip


def test_missing_definitions_are_looked_up_where_told(tmp_path: Path) -> None:
    """A type without embedded definition gets one from the sources; None leaves it without."""
    path = tmp_path / "a.mcap"
    body = made.schema(1, encoding="", data=b"") + made.channel(1, 1, "/a") + made.message(1, 1)
    path.write_bytes(made.finished(body))
    recording = load_recording(path)
    with open_recording(recording) as reader:
        assert reader.topics[0].message_type is None
        assert "no definition of std_msgs/msg/String" in reader.topics[0].obstacle
    with open_recording(recording, definitions=DefinitionSources(distro="jazzy")) as reader:
        found = reader.topics[0].message_type
        assert found is not None
        assert [name for name, _ in found.fields] == ["data"]
        assert reader.topics[0].definition_source == "jazzy"


def test_metadata_comes_from_files_and_yaml(drive: Path) -> None:
    """Distribution, custom data and what the containers say are there at open."""
    (drive / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  version: 9\n  ros_distro: jazzy\n"
        "  custom_data: {vehicle: seven}\n  relative_file_paths: []\n  files: []\n"
    )
    with open_recording(find_recordings(drive.parent)[0]) as reader:
        assert reader.metadata["ros_distro"] == "jazzy"
        assert reader.metadata["custom_data"] == {"vehicle": "seven"}
        assert reader.metadata["library"] == "test"


def test_files_are_hashed_as_standard_tools_do(drive: Path) -> None:
    """Each file's hash is that of its bytes, whether or not it is read meanwhile."""
    expected = {
        drive / f"drive_{number}.mcap": hashlib.sha256(
            (drive / f"drive_{number}.mcap").read_bytes()
        ).hexdigest()
        for number in range(3)
    }
    with open_recording(load_recording(drive)) as reader:
        hashes = reader.hash_files()
        messages_of(reader)
        assert hashes.result() == expected


def test_hashing_that_was_given_up_has_no_result(tmp_path: Path) -> None:
    """A caller that stops in the middle never gets half a hash."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(8 << 30)
    source = FileSource(big)
    hashes = FileHashes({big: source})
    hashes.stop()
    source.close()
    with pytest.raises(UsageError):
        hashes.result()


def test_closing_early_leaves_no_thread_and_no_descriptor(drive: Path) -> None:
    """A reader that is left in the middle gives everything back; closing twice is harmless."""
    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    reader = open_recording(load_recording(drive))
    reader.hash_files()
    next(reader.blocks())
    reader.close()
    reader.close()
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_split_deleted_while_reading_is_read_to_its_end(drive: Path) -> None:
    """A recorder that deletes its oldest splits takes nothing from a reader that has begun."""
    with open_recording(load_recording(drive)) as reader:
        hashes = reader.hash_files()
        blocks = reader.blocks()
        count = len(next(blocks).starts)
        for number in range(3):
            (drive / f"drive_{number}.mcap").unlink()
        assert count + sum(len(block.starts) for block in blocks) == 300
        assert [len(digest) for digest in hashes.result().values()] == [64] * 3


def test_split_deleted_before_opening_is_a_loss(drive: Path) -> None:
    """Of several files one may be gone by now; if all are, that is the error."""
    recording = load_recording(drive)
    (drive / "drive_0.mcap").unlink()
    with open_recording(recording) as reader:
        assert len(messages_of(reader)) == 200
        (loss,) = reader.tally.losses
        assert loss.path.name == "drive_0.mcap"
        assert not reader.healthy
    for number in (1, 2):
        (drive / f"drive_{number}.mcap").unlink()
    with pytest.raises(RecordingVanishedError):
        open_recording(recording)


@pytest.mark.parametrize("change", ["appended", "touched", "cut"])
def test_file_that_changes_while_read_is_an_error(tmp_path: Path, change: str) -> None:
    """What was read of a file that somebody writes to is worthless, and said to be so."""
    path = tmp_path / "a.mcap"
    made.write_with_library(path, made.sample(300))
    with open_recording(load_recording(path)) as reader:
        blocks = reader.blocks()
        next(blocks)
        match change:
            case "appended":
                with path.open("ab") as file:
                    file.write(b"x")
            case "touched":
                os.utime(path, ns=(1, 1))
            case "cut":
                os.truncate(path, 5000)
        with pytest.raises(RecordingChangedError) as caught:
            list(blocks)
        assert caught.value.retryable


def test_torn_split_costs_its_tail_only(drive: Path) -> None:
    """A split cut short loses what was cut; the splits around it are whole."""
    path = drive / "drive_1.mcap"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with open_recording(load_recording(drive)) as reader:
        found = Counter(messages_of(reader))
        assert not reader.healthy
        assert {loss.path for loss in reader.tally.losses} == {path}
    whole = made.sample(300)
    assert not Counter(whole[:100] + whole[200:]) - found
    assert not found - Counter(whole)


def compressed(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize("with_metadata", [True, False])
def test_compressed_files_are_streamed(drive: Path, *, with_metadata: bool) -> None:
    """File mode: the content comes out of the compressed file, nothing is written anywhere."""
    for path in sorted(drive.iterdir()):
        path.with_name(f"{path.name}.zstd").write_bytes(compressed(path.read_bytes()))
        path.unlink()
    if with_metadata:
        (drive / "metadata.yaml").write_text(
            "rosbag2_bagfile_information: {version: 5, compression_mode: FILE, "
            "compression_format: zstd, relative_file_paths: [drive_0.mcap], files: [{}]}"
        )
    before = sorted(drive.iterdir())
    with open_recording(load_recording(drive), scratch_dir=drive / "forbidden") as reader:
        assert made.same_per_topic(messages_of(reader), made.sample(300))
        assert reader.healthy
        assert reader.bytes_read == reader.recorded_bytes
    assert sorted(drive.iterdir()) == before


def test_large_compressed_file_reads_forward_and_back(tmp_path: Path) -> None:
    """Chunks of many blocks, unindexed, so that it is scanned first and read then."""
    chance = np.random.default_rng(0)
    expected = [Seen("/a", time, chance.bytes(700_000)) for time in range(40)]
    plain = tmp_path / "a.mcap"
    made.write_with_library(plain, expected, chunk_size=5 << 20, use_statistics=False)
    data = plain.read_bytes()
    (tmp_path / "b.mcap.zstd").write_bytes(compressed(data))
    assert read(tmp_path / "b.mcap.zstd") == expected
    (tmp_path / "c.mcap.zstd").write_bytes(compressed(data[:-100]))
    assert read(tmp_path / "c.mcap.zstd") == expected


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
def test_torn_compressed_file_gives_what_is_before_the_break(tmp_path: Path, cut: float) -> None:
    """A recorder killed while it compresses leaves a stream that breaks off."""
    chance = np.random.default_rng(0)
    expected = [Seen("/a", time, chance.bytes(20_000)) for time in range(200)]
    plain = tmp_path / "a.mcap"
    made.write_with_library(plain, expected, chunk_size=50_000)
    data = compressed(plain.read_bytes())
    path = tmp_path / "b.mcap.zstd"
    path.write_bytes(data[: int(len(data) * cut)])
    with open_recording(load_recording(path)) as reader:
        found = messages_of(reader)
        assert not reader.healthy
        assert any("breaks off" in loss.reason for loss in reader.tally.losses)
    assert found == expected[: len(found)]
    assert len(found) > 200 * cut - 30


@pytest.mark.parametrize("with_metadata", [True, False])
def test_compressed_messages_are_decompressed(tmp_path: Path, *, with_metadata: bool) -> None:
    """Message mode, with metadata.yaml saying so or only the payloads' first bytes."""
    expected = made.sample(60)
    folder = tmp_path / "d"
    folder.mkdir()
    packed = [seen._replace(data=compressed(seen.data)) for seen in expected]
    made.write_with_library(folder / "d_0.mcap", packed)
    if with_metadata:
        (folder / "metadata.yaml").write_text(
            "rosbag2_bagfile_information: {version: 5, compression_mode: message, "
            "compression_format: zstd, relative_file_paths: [d_0.mcap], files: [{}]}"
        )
    assert made.same_per_topic(read(folder), expected)


def test_all_files_unreadable_is_the_first_error(tmp_path: Path) -> None:
    """A recording of which nothing can be read is an error of its first file."""
    path = tmp_path / "a.db3"
    path.write_bytes(bytes(5000))
    with pytest.raises((NotARecordingError, DamagedRecordingError)) as caught:
        open_recording(load_recording(path))
    assert caught.value.path == path


COUNT_UNDER_LIMIT = """
import pathlib, resource, sys
from bridge.bags import load_recording, open_recording
soft, hard = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    with open_recording(load_recording(pathlib.Path(sys.argv[1]))) as reader:
        print(sum(len(block.starts) for block in reader.blocks()), len(reader.tally.losses))
except Exception as error:
    print(type(error).__name__, error.hint)
"""


@pytest.mark.parametrize(
    ("hard", "answer"), [(4096, "300 0"), (64, "RecordingError raise the limit of open files")]
)
def test_more_splits_than_open_files_are_no_loss(tmp_path: Path, hard: int, answer: str) -> None:
    """Many splits raise the soft limit of descriptors; the hard one is an error, not lost files."""
    folder = write_splits(tmp_path / "d", made.sample(300), splits=100)
    command = [sys.executable, "-c", COUNT_UNDER_LIMIT, str(folder), "64", str(hard)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(answer)


def peak_resident_kib(paths: Iterable[Path]) -> int:
    """Read recordings in a child process and measure what it needed at the most."""
    code = (
        "import sys, pathlib\n"
        "from bridge.bags import load_recording, open_recording\n"
        "for path in sys.argv[1:]:\n"
        "    with open_recording(load_recording(pathlib.Path(path))) as reader:\n"
        "        count = sum(len(block.starts) for block in reader.blocks())\n"
        "        assert count\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    command = [sys.executable, "-c", code, *map(str, paths)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("layout", ["chunks", "no index", "unchunked", "file compression"])
def test_memory_does_not_grow_with_the_recording(tmp_path: Path, layout: str) -> None:
    """Ten times the recording needs no more than some MiB more memory."""
    layouts: dict[str, dict[str, Any]] = {
        "chunks": {},
        "no index": {"index_types": IndexType.NONE, "use_statistics": False},
        "unchunked": {"use_chunking": False, "use_statistics": False, "repeat_channels": False},
        "file compression": {},
    }
    chance = np.random.default_rng(0)
    peaks = []
    for size in (10, 100):
        path = tmp_path / f"{size}.mcap"
        messages = [Seen("/a", time, chance.bytes(100_000)) for time in range(size * 10)]
        made.write_with_library(path, messages, chunk_size=1 << 20, **layouts[layout])
        if layout == "file compression":
            path.with_name(f"{size}.mcap.zstd").write_bytes(compressed(path.read_bytes()))
            path = path.with_name(f"{size}.mcap.zstd")
        peaks.append(peak_resident_kib([path]))
    assert peaks[1] - peaks[0] < 30 << 10, f"{peaks} KiB"


def test_limits_reach_the_readers(tmp_path: Path) -> None:
    """What files may claim is the caller's choice."""
    path = tmp_path / "a.mcap"
    made.write_with_library(path, [Seen("/a", 1, bytes(1000)), Seen("/a", 2, b"x")])
    assert [seen.log_time for seen in read(path, limits=ReadLimits(message_bytes_max=500))] == [2]
