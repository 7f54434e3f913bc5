"""Automatic compression keeps to its bounds; bytes do not depend on how busy a machine is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.ingest import write_case
from benchmarks.recordings import size_of, write_compressed
from benchmarks.sink import RunningSink, running_sink
from benchmarks.wire import UPLINKS, moved
from bridge.bags import load_recording, open_recording

SECONDS = 0.5


@pytest.fixture(scope="module")
def sink() -> Iterator[RunningSink]:
    with running_sink() as running:
        yield running


@pytest.mark.parametrize(
    ("storage", "chunks", "uplink", "share_max"),
    [
        ("mcap", "none", "50 ms", 0.7),
        pytest.param("mcap", "none", "metered", 0.7, marks=pytest.mark.slow),
        ("mcap", "zstd", "free", 1.05),
        pytest.param("mcap", "none", "free", 1.0, marks=pytest.mark.slow),
        pytest.param("mcap", "zstd", "metered", 0.9, marks=pytest.mark.slow),
        pytest.param("bag", "lz4", "free", 1.0, marks=pytest.mark.slow),
    ],
)
def test_a_drive_takes_fewer_bytes_on_the_wire(
    sink: RunningSink, tmp_path: Path, storage: str, chunks: str, uplink: str, share_max: float
) -> None:
    """Over a long or metered line 0.7 of what was recorded plain, and never more than that."""
    drive = next(case for case in CASES if case.name == "mixed")
    drive = replace(drive, seconds=SECONDS, storage=storage, compression=chunks)
    path = write_case(drive, tmp_path, "drive", SECONDS)

    found = moved(path, sink, drive, "auto", UPLINKS[uplink])

    assert found.kernel_bytes <= share_max * size_of(path)


@pytest.mark.slow
def test_a_compressed_file_takes_no_more_bytes_on_the_wire(
    sink: RunningSink, tmp_path: Path
) -> None:
    """The whole file counts where it is compressed, not its chunks."""
    drive = next(case for case in CASES if case.name == "mixed")
    drive = replace(drive, seconds=SECONDS, compression="none")
    path = write_case(drive, tmp_path, "drive", SECONDS)
    packed = path.with_name("drive.mcap.zstd")
    write_compressed(path, packed)

    found = moved(packed, sink, drive, "auto", UPLINKS["free"])

    assert found.kernel_bytes <= 1.05 * size_of(packed)


@pytest.mark.parametrize(
    ("storage", "chunks"),
    [("mcap", "none"), ("mcap", "lz4"), ("mcap", "zstd"), ("bag", "none"), ("bag", "lz4"),
     ("bag", "bz2"), ("db3", "none")],
)  # fmt: skip
def test_a_recording_knows_whether_it_is_compressed(
    tmp_path: Path, storage: str, chunks: str
) -> None:
    """What a reader says after its first block is what the recorder was told."""
    imu = replace(CASES[0], storage=storage, compression=chunks)
    with open_recording(load_recording(write_case(imu, tmp_path, "imu", 0.5))) as reader:
        next(iter(reader.mixed_blocks()))

        assert reader.is_compressed == (chunks != "none")
