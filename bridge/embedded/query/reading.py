"""Reads topics in time order, in a time window, within bounded memory.

Chunks lie on disk in the order they came; within a chunk rows may be in any order, and chunks may
overlap in time. A sweep over the chunks by their first time keeps the chunks that reach beyond the
next one's beginning active, and gives out rows up to there. Decoded chunks live in a cache of
bounded size, so each is read once unless more than the cache holds overlap in time.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bridge.embedded.wire import INT64_MAX
from bridge.ontology import TIMESTAMP_COLUMN

ROWS_MAX = 8192
"""Rows of one batch of a read."""

CACHE_BYTES_MAX = 64 * 2**20
"""Decoded chunks kept while reading; the chunk in use stays even if it alone is bigger."""

JOINED_BYTES_MAX = 4 * 2**20
"""Neighbouring chunks are read as one up to this size, for each read costs a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Rows with `start_ns <= timestamp_ns < end_ns`; None leaves a side open."""

    start_ns: int | None = None
    end_ns: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has no bounds at all."""
        return self.start_ns is None and self.end_ns is None

    def holds(self, first_ns: int, last_ns: int) -> bool:
        """Tell whether all of an inclusive interval lies inside."""
        return (self.start_ns is None or self.start_ns <= first_ns) and (
            self.end_ns is None or last_ns < self.end_ns
        )

    def touches(self, first_ns: int, last_ns: int) -> bool:
        """Tell whether some of an inclusive interval lies inside."""
        return (self.start_ns is None or self.start_ns <= last_ns) and (
            self.end_ns is None or first_ns < self.end_ns
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One chunk of a topic, a row group of a segment; or several that are read as one.

    Rows without a time count as the latest ones, at `INT64_MAX`.
    """

    segment: int
    groups: tuple[int, ...]
    rows: int
    size_bytes: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How many rows there are, and their first and last time, both inclusive."""

    rows: int
    first_ns: int | None
    last_ns: int | None


class TopicReader:
    """Reads the sealed segments of one topic; used by one thread.

    The files stay open, so that a delete during the read does no harm.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open the segments.

        Raises:
            FileNotFoundError: The topic was deleted meanwhile.
        """
        self._cache: OrderedDict[Chunk, pa.Table] = OrderedDict()
        self._cached_bytes = 0
        with ExitStack() as opened:
            self._files = [
                opened.enter_context(pq.ParquetFile(path, pre_buffer=False)) for path in paths
            ]
            self._opened = opened.pop_all()
        self.chunks = [
            chunk
            for segment, file in enumerate(self._files)
            for chunk in _chunks(segment, file.metadata)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; idempotent."""
        self._cache.clear()
        self._opened.close()

    def footer(self, chunk: Chunk) -> pq.RowGroupMetaData:
        """Give what the file's footer says of a chunk."""
        (group,) = chunk.groups
        return self._files[chunk.segment].metadata.row_group(group)

    def columns(self, chunk: Chunk, paths: Sequence[str]) -> pa.Table:
        """Read some columns of a chunk, named by dotted path, past the cache."""
        file = self._files[chunk.segment]
        return file.read_row_groups(chunk.groups, columns=list(paths), use_threads=False)

    def table(self, chunk: Chunk) -> pa.Table:
        """Read a chunk, or take it from the cache."""
        table = self._cache.get(chunk)
        if table is None:
            table = self._files[chunk.segment].read_row_groups(chunk.groups)
            self._cache[chunk] = table
            self._cached_bytes += table.nbytes
            while self._cached_bytes > CACHE_BYTES_MAX and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        self._cache.move_to_end(chunk)
        return table

    def forget(self, chunk: Chunk) -> None:
        """Drop a chunk that will not be read again."""
        table = self._cache.pop(chunk, None)
        if table is not None:
            self._cached_bytes -= table.nbytes

    def summary(self, window: Window) -> Summary:
        """Count the rows of a window; reads times only of the chunks its bounds cut."""
        rows = 0
        bounds: list[int] = []
        for chunk in self.chunks:
            if window.holds(chunk.first_ns, chunk.last_ns) and chunk.last_ns != INT64_MAX:
                rows += chunk.rows
                bounds += [chunk.first_ns, chunk.last_ns]
            elif window.touches(chunk.first_ns, chunk.last_ns):
                times = self.columns(chunk, [TIMESTAMP_COLUMN]).column(0)
                times = times.filter(_inside(times, window))
                if len(times):
                    extremes = pc.min_max(times)
                    rows += len(times)
                    bounds += [extremes["min"].as_py(), extremes["max"].as_py()]
        return Summary(
            rows=rows,
            first_ns=min(bounds, default=None),
            last_ns=max(bounds, default=None),
        )

    def batches(self, window: Window, *, bytes_target: int) -> Iterator[pa.RecordBatch]:
        """Give the rows of a window by ascending time, in regular batches, then close the files."""
        with self:
            yield from regular_batches(
                self.in_order(window, rows_max=ROWS_MAX),
                rows_max=ROWS_MAX,
                bytes_target=bytes_target,
            )

    def in_order(self, window: Window, *, rows_max: int) -> Iterator[pa.Table]:
        """Give the rows of a window by ascending time, at most `rows_max` at once.

        The order among rows of one time is not defined.
        """
        chunks = _joined(
            sorted(
                (chunk for chunk in self.chunks if window.touches(chunk.first_ns, chunk.last_ns)),
                key=lambda chunk: (chunk.first_ns, chunk.segment, chunk.groups),
            )
        )
        active: list[_Cursor] = []
        for position, chunk in enumerate(chunks):
            active.append(_Cursor(self, chunk, window))
            is_last = position + 1 == len(chunks)
            until_ns = None if is_last else chunks[position + 1].first_ns
            yield from _merged(active, until_ns, rows_max=rows_max)
            for cursor in active:
                if cursor.is_done:
                    self.forget(cursor.chunk)
            active = [cursor for cursor in active if not cursor.is_done]


class _Cursor:
    """A place in one chunk, whose rows it gives by ascending time."""

    def __init__(self, reader: TopicReader, chunk: Chunk, window: Window) -> None:
        self._reader = reader
        self.chunk = chunk
        times = reader.table(chunk).column(TIMESTAMP_COLUMN).combine_chunks()
        nulls = times.null_count
        times = times.fill_null(INT64_MAX)
        self._order = None if _ascends(times) else pc.sort_indices(times)
        self.times = times if self._order is None else times.take(self._order)
        self.position = 0 if window.start_ns is None else self.before(window.start_ns)
        self.end = len(times) if window.is_open else len(times) - nulls
        if window.end_ns is not None:
            self.end = min(self.end, self.before(window.end_ns))

    @property
    def is_done(self) -> bool:
        return self.position >= self.end

    def before(self, time_ns: int) -> int:
        return bisect_left(self.times, time_ns, key=_plain)

    def take(self, rows: int) -> pa.Table:
        start, self.position = self.position, self.position + rows
        table = self._reader.table(self.chunk)
        if self._order is None:
            return table.slice(start, rows)
        return table.take(self._order.slice(start, rows))


def _merged(
    cursors: Sequence[_Cursor], until_ns: int | None, *, rows_max: int
) -> Iterator[pa.Table]:
    """Give the rows of all cursors before a time, by ascending time."""
    spans = []
    for cursor in cursors:
        end = cursor.end if until_ns is None else min(cursor.end, cursor.before(until_ns))
        if end > cursor.position:
            spans.append((cursor, end - cursor.position))
    if len(spans) == 1:
        cursor, rows = spans[0]
        for start in range(0, rows, rows_max):
            yield cursor.take(min(rows_max, rows - start))
        return
    if not spans:
        return
    times = [cursor.times.slice(cursor.position, rows) for cursor, rows in spans]
    owners = [pa.repeat(index, rows) for index, (_, rows) in enumerate(spans)]
    order = pc.sort_indices(pa.concat_arrays(times))
    owner = pa.concat_arrays(owners).take(order)
    for start in range(0, len(owner), rows_max):
        # Of each cursor the rows of this piece are consecutive, so only their number matters.
        counts = pc.value_counts(owner.slice(start, rows_max))
        share = dict(
            zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
        )
        piece = pa.concat_tables(
            cursor.take(share[index]) for index, (cursor, _) in enumerate(spans) if index in share
        )
        yield piece.take(pc.sort_indices(piece.column(TIMESTAMP_COLUMN)))


def regular_batches(
    tables: Iterable[pa.Table], *, rows_max: int, bytes_target: int
) -> Iterator[pa.RecordBatch]:
    """Cut and join tables into batches of a regular size.

    A batch has at most `rows_max` rows and, unless a single row is bigger, about `bytes_target`
    bytes; only the last one is much smaller.
    """
    waiting: list[pa.Table] = []
    rows = size_bytes = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        size_bytes += table.nbytes
        if rows < rows_max and size_bytes < bytes_target:
            continue
        yield from _cut(waiting, rows_max=rows_max, bytes_target=bytes_target)
        waiting, rows, size_bytes = [], 0, 0
    if waiting:
        yield from _cut(waiting, rows_max=rows_max, bytes_target=bytes_target)


def _cut(
    tables: Sequence[pa.Table], *, rows_max: int, bytes_target: int
) -> Iterator[pa.RecordBatch]:
    table = pa.concat_tables(tables).combine_chunks()
    row_bytes = max(1, table.nbytes // max(1, table.num_rows))
    yield from table.to_batches(max_chunksize=max(1, min(rows_max, bytes_target // row_bytes)))


def _inside(times: pa.ChunkedArray, window: Window) -> pa.ChunkedArray:
    mask = times.is_valid()
    if window.start_ns is not None:
        mask = pc.and_(mask, pc.greater_equal(times, window.start_ns))
    if window.end_ns is not None:
        mask = pc.and_(mask, pc.less(times, window.end_ns))
    return mask


def _plain(scalar: pa.Scalar) -> int:
    value: int = scalar.as_py()
    return value


def _ascends(times: pa.Array) -> bool:
    if len(times) < 2:  # noqa: PLR2004 - a pair is the least that can be out of order
        return True
    return bool(pc.all(pc.less_equal(times.slice(0, len(times) - 1), times.slice(1))).as_py())


def _joined(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Join neighbours of one segment, up to a size, into chunks that are read as one."""
    joined: list[Chunk] = []
    for chunk in chunks:
        before = joined[-1] if joined else None
        if (
            before is not None
            and before.segment == chunk.segment
            and before.size_bytes + chunk.size_bytes <= JOINED_BYTES_MAX
        ):
            joined[-1] = Chunk(
                segment=chunk.segment,
                groups=before.groups + chunk.groups,
                rows=before.rows + chunk.rows,
                size_bytes=before.size_bytes + chunk.size_bytes,
                first_ns=before.first_ns,
                last_ns=max(before.last_ns, chunk.last_ns),
            )
        else:
            joined.append(chunk)
    return joined


def _chunks(segment: int, footer: pq.FileMetaData) -> Iterator[Chunk]:
    """Read the bounds of the chunks of a segment from its footer."""
    names = [footer.schema.column(index).path for index in range(footer.num_columns)]
    column = names.index(TIMESTAMP_COLUMN)
    for group in range(footer.num_row_groups):
        row_group = footer.row_group(group)
        statistics = row_group.column(column).statistics
        has_times = statistics is not None and statistics.has_min_max
        has_nulls = statistics is None or statistics.null_count != 0
        yield Chunk(
            segment=segment,
            groups=(group,),
            rows=row_group.num_rows,
            size_bytes=row_group.total_byte_size,
            first_ns=statistics.min if has_times else INT64_MAX,
            last_ns=statistics.max if has_times and not has_nulls else INT64_MAX,
        )
