"""Ordered reading against a plain sort, over every way chunks can overlap."""

import itertools
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.embedded.archive import Archive
from bridge.embedded.catalogue import TopicRecord, TopicState
from bridge.embedded.query import reading
from bridge.embedded.query.reading import TopicReader, Window, regular_batches
from bridge.embedded.store import Store

SCHEMA = pa.schema([("timestamp_ns", pa.int64()), ("row", pa.int64())])

Chunks = list[list[int | None]]

CHUNKS = st.lists(
    st.lists(st.integers(-20, 20) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=6),
    max_size=8,
)
BOUND = st.none() | st.integers(-22, 22) | st.sampled_from([-(2**63), 2**63 - 1])


def stored(folder: Path, chunks: Chunks, *, segments: int = 1) -> list[Path]:
    """Store chunks as a topic, spread over some segments."""
    store = Store(folder)
    totals = (0, 0, 0, None, None)
    state = TopicState.UPLOADING
    topic = TopicRecord(1, 1, 1, "uuid", "a/b", "T", "default", "{}", 0, None, state, None, *totals)
    numbers = itertools.count()
    paths = []
    with store.write(topic, SCHEMA) as data:
        for index, times in enumerate(chunks):
            rows = pa.array([next(numbers) for _ in times], pa.int64())
            data.append(pa.record_batch([pa.array(times, pa.int64()), rows], schema=SCHEMA))
            if index % segments == 0 and (segment := data.seal()):
                paths.append(store.path(topic, segment.number))
        if segment := data.seal():
            paths.append(store.path(topic, segment.number))
    return paths


def inside(time: int, window: Window) -> bool:
    return (window.start_ns is None or window.start_ns <= time) and (
        window.end_ns is None or time < window.end_ns
    )


@settings(max_examples=100)
@given(CHUNKS, BOUND, BOUND, st.integers(1, 4), st.integers(1, 5), st.sampled_from([0, 10**6]))
def test_rows_come_sorted_and_whole(
    chunks: Chunks,
    start_ns: int | None,
    end_ns: int | None,
    segments: int,
    rows_max: int,
    joined_bytes: int,
) -> None:
    """Whatever the chunks, a window gives and counts exactly its rows, by ascending time."""
    window = Window(start_ns=start_ns, end_ns=end_ns)
    numbered = enumerate(itertools.chain.from_iterable(chunks))
    expected = sorted(
        (time, row) for row, time in numbered if time is not None and inside(time, window)
    )
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "JOINED_BYTES_MAX", joined_bytes)
        patch.setattr(reading, "CACHE_BYTES_MAX", 64)
        with TopicReader(stored(Path(folder), chunks, segments=segments)) as reader:
            tables = list(reader.in_order(window, rows_max=rows_max))
            summary = reader.summary(window)
    assert all(table.num_rows <= rows_max for table in tables)
    table = pa.concat_tables([SCHEMA.empty_table(), *tables])
    times = table.column("timestamp_ns").to_pylist()
    assert times == [time for time, _ in expected]
    assert sorted(zip(times, table.column("row").to_pylist(), strict=True)) == expected
    assert summary.rows == len(expected)
    assert summary.first_ns == (expected[0][0] if expected else None)
    assert summary.last_ns == (expected[-1][0] if expected else None)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(), [1, 2, 3, None, None]),
        (Window(start_ns=2), [2, 3]),
        (Window(end_ns=3), [1, 2]),
        (Window(start_ns=-(2**63), end_ns=2**63 - 1), [1, 2, 3]),
    ],
)
def test_rows_without_time_come_last(
    tmp_path: Path, window: Window, expected: list[int | None]
) -> None:
    """A null time sorts at the end and is in no window."""
    with TopicReader(stored(tmp_path, [[None, 3], [1], [2, None]])) as reader:
        tables = list(reader.in_order(window, rows_max=10))
        rows = reader.summary(window).rows
    times = pa.concat_tables(tables).column("timestamp_ns").to_pylist()
    assert times == expected
    assert rows == len([time for time in expected if time is not None])


def test_cache_stays_within_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that all overlap are read again and again rather than held all at once."""
    chunks: Chunks = [list(range(start, 20_000, 100)) for start in range(100)]
    bound = 10 * 200 * 16
    monkeypatch.setattr(reading, "JOINED_BYTES_MAX", 0)
    monkeypatch.setattr(reading, "CACHE_BYTES_MAX", bound)
    times = []
    with TopicReader(stored(tmp_path, chunks)) as reader:
        for table in reader.in_order(Window(), rows_max=500):
            times += table.column("timestamp_ns").to_pylist()
            assert sum(each.nbytes for each in reader._cache.values()) <= bound
            assert reader._cached_bytes == sum(each.nbytes for each in reader._cache.values())
    assert times == list(range(20_000))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 20), st.integers(1, 400))
def test_batches_are_regular(sizes: list[int], rows_max: int, bytes_target: int) -> None:
    """Cutting and joining loses no row, keeps the order, and keeps to the sizes."""
    numbers = itertools.count()
    tables = [
        pa.table({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())})
        for size in sizes
    ]
    batches = list(regular_batches(tables, rows_max=rows_max, bytes_target=bytes_target))
    assert list(itertools.chain(*(batch.column("n").to_pylist() for batch in batches))) == list(
        range(sum(sizes))
    )
    for batch in batches:
        assert batch.num_rows <= rows_max
        assert batch.nbytes <= max(bytes_target, 8)


def test_reading_survives_a_delete(tmp_path: Path) -> None:
    """A topic deleted while it is read is read to its end."""
    archive = Archive(tmp_path, message_bytes_max=1)
    archive.close()
    paths = stored(tmp_path / "chunks", [[1, 2], [3]])
    with TopicReader(paths) as reader:
        for path in paths:
            path.unlink()
        tables = list(reader.in_order(Window(), rows_max=10))
    assert pa.concat_tables(tables).column("timestamp_ns").to_pylist() == [1, 2, 3]
