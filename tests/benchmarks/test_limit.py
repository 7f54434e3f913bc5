"""The limit is one: its two halves do no less than has to be done, and no part of what is ours."""

from pathlib import Path

import pytest
from mcap.records import Chunk
from mcap.stream_reader import StreamReader

from benchmarks import limit
from benchmarks.cases import CASES, DRIVE, Case
from benchmarks.ingest import write_case
from benchmarks.ready_made import write_ready_made
from benchmarks.recordings import size_of
from benchmarks.sink import running_sink
from benchmarks.subjects import ours
from benchmarks.tables import Table, summary

SECONDS = 0.6
SMALL = 256 << 10


@pytest.fixture(autouse=True)
def _allocator_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """How memory is kept would stay so for other tests of this process."""
    monkeypatch.setattr("bridge.daemon.work.memory.keep_freed_memory", lambda: None)


def drive(storage: str, compression: str) -> Case:
    return Case(
        name="drive",
        streams=DRIVE,
        seconds=SECONDS,
        vendor_seconds=SECONDS,
        storage=storage,
        compression=compression,
    )


@pytest.mark.parametrize(
    ("storage", "compression"), [("mcap", "none"), ("mcap", "zstd"), ("db3", "none")]
)
def test_reading_goes_through_the_bytes_of_the_file(
    tmp_path: Path, storage: str, compression: str
) -> None:
    """A plain file is read whole; of a compressed one every chunk becomes what it was."""
    path = write_case(drive(storage, compression), tmp_path, "drive", 0.2)
    expected = limit.Content(file_bytes=size_of(path), chunk_bytes=0)
    if storage == "db3":
        expected = limit.Content(file_bytes=size_of(next(path.glob("*.db3"))), chunk_bytes=0)
    if compression != "none":
        with path.open("rb") as stream:
            chunks = [
                record
                for record in StreamReader(stream, emit_chunks=True).records
                if isinstance(record, Chunk)
            ]
        expected = limit.Content(
            file_bytes=sum(len(chunk.data) for chunk in chunks),
            chunk_bytes=sum(chunk.uncompressed_size for chunk in chunks),
        )

    assert limit.reading(path)() == expected


def test_sending_puts_the_rows_and_bytes_of_an_ingest(tmp_path: Path) -> None:
    """Whatever the size of its batches, the sender puts the rows, times and bytes that we send."""
    path = write_case(CASES[0], tmp_path, "imu", SECONDS * 20)
    write_ready_made(path, tmp_path / "ready_made")
    with running_sink() as sink:
        ours(path, sink.port, "ours")()
        (rows, times, arrow_bytes, _) = next(iter(sink.sums().values()))
        found: list[tuple[int, int, int, int]] = []
        for size in (SMALL, limit.BATCH_BYTES[0]):
            limit.sending(sink.port, "limit", tmp_path / "ready_made", size)()
            found += sink.sums().values()

    assert [each[:2] for each in found] == [(rows, times)] * 2
    assert [each[2] for each in found] == pytest.approx([arrow_bytes] * 2, rel=0.02)
    assert [each[3] for each in found] == [4, 1]


def test_a_run_ends_with_its_ratios() -> None:
    """The summary has lowest and highest of each ratio with their cases, and no other figure."""
    table = Table("Ingest", ("case", "MiB", "x vendor", "of limit"), [
        ("imu", 3.0, 500.0, 0.5), ("tf", 4.0, 400.0, 0.7), ("db3", 5.0, 450.0, None),
    ])  # fmt: skip

    assert summary([table]).rows == [
        ("Ingest", "x vendor", 400.0, "tf", 500.0, "imu"),
        ("Ingest", "of limit", 0.5, "imu", 0.7, "tf"),
    ]
