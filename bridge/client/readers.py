"""Reading topics back: batches in time order, windows, rows, tables, and several topics merged."""

import heapq
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from bridge.client.catalog import Dialect, TopicFacts, Window, plain_schema
from bridge.client.connection import Connection
from bridge.errors import ProtocolError
from bridge.facade import later
from bridge.ontology import TIMESTAMP_COLUMN

pc = later("pyarrow.compute")


class TopicReader:
    """Reads the rows of one topic in a time window, in order of their record time."""

    def __init__(
        self, connection: Connection, dialect: Dialect, locator: str, window: Window
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._locator = locator
        self._window = window

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as they were written, columns of views turned into plain ones.

        Leaving early cancels the transfer. A topic without rows yields nothing.

        Raises:
            ServerError: The stream broke, or the topic is not there.
            ProtocolError: What the server sends has no record times.
        """
        facts = self._dialect.topic_facts(self._locator, self._window)
        if _known_empty(facts):
            return
        stream = self._connection.get(facts.ticket, resource=self._locator)
        plain: pa.Schema | None = None
        cast = False
        for batch in stream.batches():
            if plain is None:  # one stream has one schema
                plain = self._checked(plain_schema(batch.schema))
                cast = not plain.equals(batch.schema)
            clipped = self._clipped(batch.cast(plain) if cast else batch)
            if clipped.num_rows:
                yield clipped

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows one by one, as plain Python values; slow, for looking at data."""
        for batch in self.batches():
            yield from batch.to_pylist()

    def table(self) -> pa.Table:
        """Read everything into memory."""
        batches = list(self.batches())
        if batches:
            return pa.Table.from_batches(batches)
        facts = self._dialect.topic_facts(self._locator, self._window)
        schema = facts.schema if facts.schema is not None else pa.schema([])
        return plain_schema(schema).empty_table()

    def _checked(self, schema: pa.Schema) -> pa.Schema:
        index = schema.get_field_index(TIMESTAMP_COLUMN)
        if index < 0 or schema.field(index).type != pa.int64():
            raise ProtocolError(
                f"{self._locator}: the server's rows have no {TIMESTAMP_COLUMN}",
                address=self._connection.options.address,
                resource=self._locator,
            )
        return schema

    def _clipped(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Apply the window here where the revision cannot apply it on the server."""
        if self._dialect.revision.time_windows:
            return batch
        times = batch.column(TIMESTAMP_COLUMN)
        if self._window.start_ns is not None:
            batch = batch.filter(pc.greater_equal(times, self._window.start_ns))
            times = batch.column(TIMESTAMP_COLUMN)
        if self._window.end_ns is not None:
            batch = batch.filter(pc.less(times, self._window.end_ns))
        return batch


def merge_by_time(
    readers: Mapping[str, TopicReader],
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Interleave several topics by record time.

    Each step takes from the topic whose next row is the earliest all rows up to the next row of any
    other topic, so what comes out are slices, as long as the data allows. Topics with equal times
    come in the order of *readers*.

    Args:
        readers: What to merge, by the name that is given back with each slice.

    Yields:
        The name and the slice; concatenated, `timestamp_ns` never decreases.
    """
    names = list(readers)
    sources = [reader.batches() for reader in readers.values()]
    # Entries are (next record time, position of the topic); batches are kept separately.
    heap: list[tuple[int, int]] = []
    current: dict[int, pa.RecordBatch] = {}

    def advance(index: int) -> None:
        batch = next(sources[index], None)
        if batch is not None:
            current[index] = batch
            heapq.heappush(heap, (_first_time(batch), index))

    for index in range(len(sources)):
        advance(index)
    while heap:
        _, index = heapq.heappop(heap)
        batch = current.pop(index)
        count = _rows_before(batch, heap[0], index) if heap else batch.num_rows
        yield names[index], batch.slice(0, count)
        if count < batch.num_rows:
            current[index] = batch.slice(count)
            heapq.heappush(heap, (_first_time(current[index]), index))
        else:
            advance(index)


def _first_time(batch: pa.RecordBatch) -> int:
    return int(batch.column(TIMESTAMP_COLUMN)[0].as_py())


def _rows_before(batch: pa.RecordBatch, rival: tuple[int, int], index: int) -> int:
    """Count the rows that come before the rival's next one; at least one does."""
    times = batch.column(TIMESTAMP_COLUMN).to_numpy(zero_copy_only=False)
    rival_ns, rival_index = rival
    side = "right" if index < rival_index else "left"
    return max(1, int(times.searchsorted(rival_ns, side=side)))


def _known_empty(facts: TopicFacts) -> bool:
    """Whether the server says that there is nothing to read; some refuse to read such a topic."""
    if not facts.locked:
        return False
    extent = facts.window or facts.data
    return extent.row_count == 0 or facts.chunks == 0
