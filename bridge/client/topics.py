"""Writing one topic: batches in, the server's verdict at the end."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa

from bridge.client.catalog import TopicFacts
from bridge.client.options import PLAIN, BodyCodec
from bridge.client.text import clean_batch
from bridge.errors import ServerError, UsageError
from bridge.ontology import TIMESTAMP_COLUMN, Model

# Batches are split so that they are well below what the server takes; a single row may come closer.
_TARGET_SHARE = 0.9
_OVERHEAD_BYTES = 65_536
_RECORDS_MAX = 1_000_000

_PUSH_BYTES_PER_VALUE = 8

# Parts of a batch are planned a little smaller than allowed: each has a header of its own, and one
# that comes out too large costs another split.
_PART_FILL = 0.95

_FEW_ROWS = 16

# Batches up to this size have no row that a server could not read back: those end at 25 MB.
_SMALL_BYTES = 16 << 20


Span = tuple[int, int]
"""First and last record time of some rows, nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a batch, so that nobody has to look.

    Attributes:
        clean: Whether it is known that no text in it holds U+0000.
        span_ns: Its first and last record time; None for unknown.
        size_bytes: About how many bytes its buffers have.
        size_bytes_max: More they cannot have; None for unknown, and then the writer looks itself.
    """

    clean: bool = False
    span_ns: Span | None = None
    size_bytes: int = 0
    size_bytes_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendLimits:
    """How large what we send may be.

    Attributes:
        bytes_target: Batches above this size, as Arrow IPC, are split by rows.
        bytes_max: A single row above this size cannot be sent at all.
        records_max: Batches of more rows are split.
    """

    bytes_target: int
    bytes_max: int
    records_max: int

    @classmethod
    def within(cls, accepted_bytes: int, *, bytes_max: int | None, records_max: int | None) -> Self:
        """Give the limits for a server that accepts messages of a size, and a caller's wishes."""
        target = int(_TARGET_SHARE * accepted_bytes)
        return cls(
            bytes_target=min(bytes_max or target, target),
            bytes_max=max(accepted_bytes - _OVERHEAD_BYTES, target),
            records_max=records_max or _RECORDS_MAX,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicReceipt:
    """What the server says it holds of a topic.

    Attributes:
        row_count: Rows; None where the revision does not report it.
        start_ns: First record time, nanoseconds; None without rows or where not reported.
        end_ns: Last record time, inclusive; likewise.
        locked: Whether the topic's upload ended cleanly: the topic is whole.
        size_bytes: Stored bytes; None where not reported. Not for comparing: the platform
            rewrites what it has.
        chunks: Stored chunks; likewise.
    """

    row_count: int | None
    start_ns: int | None
    end_ns: int | None
    locked: bool
    size_bytes: int | None
    chunks: int | None = None

    @classmethod
    def of(cls, facts: TopicFacts) -> Self:
        """Take what matters for the writer out of all that the server reports."""
        return cls(
            row_count=facts.data.row_count,
            start_ns=facts.data.start_ns,
            end_ns=facts.data.end_ns,
            locked=facts.locked,
            size_bytes=facts.size_bytes,
            chunks=facts.chunks,
        )

    @property
    def is_hollow(self) -> bool:
        """Whether nothing is stored: then there are no rows, whatever else is reported."""
        return self.chunks == 0 or self.size_bytes == 0

    def holds(self, rows: int, start_ns: int | None, end_ns: int | None) -> bool:
        """Whether it is closed and has all of so many rows, as far as the server reports."""
        if not self.locked or (rows and self.is_hollow):
            return False
        if self.row_count is not None and self.row_count != rows:
            return False
        reported = (self.start_ns, self.end_ns)
        return None in reported or reported == (start_ns, end_ns)


class RowStream(Protocol):
    """Where a topic's batches go: a put stream, or nowhere."""

    @property
    def compression(self) -> str:
        """How bodies are compressed, as far as that is settled; empty for not at all."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""

    def end(self) -> None:
        """End the data; nothing follows."""

    def finish(self) -> None:
        """End well."""

    def abort(self) -> None:
        """End so that nobody takes it for complete."""


class Nowhere:
    """A stream that takes everything and sends nothing."""

    compression = ""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch and forget it."""

    def end(self) -> None:
        """Do nothing: nobody waits for the end."""

    def finish(self) -> None:
        """Do nothing: there is no verdict to wait for."""

    def abort(self) -> None:
        """Do nothing: nothing was sent."""


@dataclass(slots=True, kw_only=True, eq=False)
class TriedStream:
    """A put stream that is opened with its first batch, which shows whether compression pays.

    Attributes:
        open: Opens the stream, compressed by a codec.
        codec: Chooses the codec to try, when there is something to try it on.
        pays: Whether that codec makes enough of a batch.
    """

    open: "Callable[[BodyCodec], RowStream]"
    codec: "Callable[[], BodyCodec]"
    pays: "Callable[[pa.RecordBatch, BodyCodec], bool]"
    _opened: "RowStream | None" = None

    @property
    def compression(self) -> str:
        """What was settled by the first batch; empty before it."""
        return "" if self._opened is None else self._opened.compression

    def write(self, batch: pa.RecordBatch) -> None:
        """Send a batch, the first after the trial."""
        if self._opened is None:
            codec = self.codec()
            self._opened = self.open(codec if self.pays(batch, codec) else PLAIN)
        self._opened.write(batch)

    def end(self) -> None:
        """End the data; without any, the schema alone ends the topic."""
        self._whatever().end()

    def finish(self) -> None:
        """End well."""
        self._whatever().finish()

    def abort(self) -> None:
        """End so that nobody takes it for complete: what was never opened is not."""
        if self._opened is not None:
            self._opened.abort()

    def _whatever(self) -> "RowStream":
        if self._opened is None:
            self._opened = self.open(PLAIN)
        return self._opened


@dataclass(slots=True, kw_only=True, eq=False)
class TopicWriter:
    """Writes one topic; made by `SequenceWriter.topic_create`; used by one thread at a time.

    As a context manager it closes at a clean exit. Otherwise it aborts, and the error goes on its
    way unless the topic's `TopicErrorPolicy` is to drop it.

    Attributes:
        name: The topic's name, with a leading slash.
        model: What each row is.
        limits: How large what we send may be.
        stream: The open put stream, or nowhere for a rehearsal.
        report: Attaches a notification to the topic.
        ask: Asks the server what it holds of the topic.
        empty_batch: Whether a topic without rows gets an empty batch, to be readable.
        drop: Removes the failed topic, and says whether the error ends with it.
        rows_written: Rows handed to the stream.
        bytes_written: About their size as Arrow IPC, before compression.
        batches_written: Batches handed to the stream; each becomes a chunk on the platform.
        row_bytes_max: Size of the largest row among them, at least where one is so large that it
            matters for reading.
        start_ns: First record time among these rows; None before the first.
        end_ns: Last record time among them, inclusive; likewise.
        texts_changed: Texts, those of its metadata included, in which U+0000 was replaced by
            U+FFFD, because the platform cannot keep it.
        oversize: Rows that were too large for the server; dropped, counted and reported to it.
        ended: Whether it was said that nothing follows.
        closed: Whether the topic is whole on the server, by its verdict.
        aborted: Whether it was given up.
    """

    name: str
    model: Model
    limits: SendLimits
    stream: RowStream
    report: Callable[[str], None]
    ask: Callable[[], TopicReceipt] | None = None
    empty_batch: bool = False
    drop: Callable[[Exception], bool] = field(default=lambda _: False)
    rows_written: int = 0
    bytes_written: int = 0
    batches_written: int = 0
    row_bytes_max: int = 0
    start_ns: int | None = None
    end_ns: int | None = None
    texts_changed: int = 0
    oversize: int = 0
    ended: bool = False
    closed: bool = False
    aborted: bool = False
    _rows: list[Mapping[str, Any]] = field(default_factory=list)
    _rows_bytes: int = 0

    @property
    def compression(self) -> str:
        """How bodies are compressed, as far as that is settled; empty for not at all."""
        return self.stream.compression

    def write_batch(self, batch: pa.RecordBatch, known: Known | None = None) -> None:
        """Send a batch; blocks while the server or the link is slow.

        A batch above the limits is split by rows. A single row above the server's message limit is
        dropped, counted in `oversize`, and reported as a notification on the topic.

        Args:
            batch: Rows in terms of `model.schema`; schema metadata does not matter.
            known: What is known of it; None for nothing.

        Raises:
            UsageError: The schema is another one, or the writer is closed.
            ServerError: The stream is broken. The topic is not whole; only `abort` is left.
        """
        self._require_open()
        if not batch.schema.equals(self.model.schema, check_metadata=False):
            raise UsageError(
                f"{self.name}: the batch does not have the schema of {self.model.tag}",
                hint=f"expected {self.model.schema}, got {batch.schema}",
            )
        self._flush()
        known = known or Known()
        if not known.clean:
            batch = self._cleaned(batch)
        self._send(batch, known)

    def push(self, message: Mapping[str, Any]) -> None:
        """Add one row, to be sent with others once they fill a batch.

        Args:
            message: Values by column; `timestamp_ns` in nanoseconds. Columns left out are null.

        Raises:
            UsageError: The row has no `timestamp_ns`, an unknown column, or values of another
                type; the latter may only be found when the batch is made.
            ServerError: As for `write_batch`.
        """
        self._require_open()
        if message.get(TIMESTAMP_COLUMN) is None:
            raise UsageError(f"{self.name}: a row needs {TIMESTAMP_COLUMN}")
        unknown = message.keys() - set(self.model.schema.names)
        if unknown:
            raise UsageError(f"{self.name}: {self.model.tag} has no column {sorted(unknown)}")
        self._rows.append(message)
        self._rows_bytes += _roughly_bytes(message)
        full = self._rows_bytes >= self.limits.bytes_target
        if full or len(self._rows) >= self.limits.records_max:
            self._flush()

    def end(self) -> None:
        """Send what is buffered and end the data; `close` then waits for the verdict.

        To close several topics, end them all first: the server then works on all of them at the
        same time, and a slow link is waited for once instead of once for each.

        Raises:
            UsageError: The writer is closed.
            ServerError: The stream is broken; only `abort` is left.
        """
        self._require_open()
        self._flush()
        if self.empty_batch and not self.rows_written:
            self.stream.write(pa.RecordBatch.from_pylist([], schema=self.model.schema))
        self.ended = True
        self.stream.end()

    def close(self) -> None:
        """Send what is buffered, end the stream and wait for the server's verdict; idempotent.

        After an error the server is asked: where it holds the topic whole, only the verdict got
        lost, and all is well.

        Raises:
            ServerError: The topic is not whole on the server.
        """
        if self.closed:
            return
        if not self.ended:
            self.end()
        try:
            self.stream.finish()
        except ServerError:
            if not self._has_arrived():
                raise
        if self.oversize > 1:
            self.report(
                f"{self.oversize} rows were larger than the server accepts and were dropped"
            )
        self.closed = True

    def _has_arrived(self) -> bool:
        if self.ask is None:
            return False
        try:
            receipt = self.ask()
        except ServerError:
            return False
        return receipt.holds(self.rows_written, self.start_ns, self.end_ns)

    def abort(self) -> None:
        """Give the topic up so that the server does not take it for complete; idempotent."""
        if self.closed or self.aborted:
            return
        self.aborted = True
        self._rows.clear()
        self.stream.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            try:
                self.close()
            except ServerError as late:
                if not self.drop(late):
                    raise
            return False
        self.abort()
        return isinstance(error, Exception) and self.drop(error)

    def _require_open(self) -> None:
        if self.ended or self.closed or self.aborted:
            raise UsageError(f"{self.name}: the topic writer is closed")

    def _flush(self) -> None:
        if not self._rows:
            return
        rows, self._rows, self._rows_bytes = self._rows, [], 0
        try:
            batch = pa.RecordBatch.from_pylist(rows, schema=self.model.schema)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise UsageError(
                f"{self.name}: {len(rows)} rows do not fit {self.model.tag}: {error}"
            ) from error
        self._send(self._cleaned(batch), Known(clean=True))

    def _cleaned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        batch, changed = clean_batch(batch, self.model.text_columns)
        self.texts_changed += changed
        return batch

    def _send(self, batch: pa.RecordBatch, known: Known) -> None:
        """Send a batch whole if it fits, else in even parts, down to single rows.

        Costs two looks at the batch's buffers; nothing is copied, parts are slices.
        """
        rows = batch.num_rows
        if rows == 0:
            return
        size_bytes, bytes_max = known.size_bytes, known.size_bytes_max
        small_bytes = min(self.limits.bytes_target, _SMALL_BYTES) - _OVERHEAD_BYTES
        if bytes_max is None or bytes_max > small_bytes:
            size_bytes = pa.ipc.get_record_batch_size(batch)
        if rows > 1 and (size_bytes > self.limits.bytes_target or rows > self.limits.records_max):
            by_bytes = math.ceil(size_bytes / (_PART_FILL * self.limits.bytes_target))
            part_rows = math.ceil(rows / max(by_bytes, math.ceil(rows / self.limits.records_max)))
            for start in range(0, rows, part_rows):
                self._send(batch.slice(start, part_rows), Known(clean=known.clean))
        elif size_bytes > self.limits.bytes_max:
            self._drop(size_bytes)
        else:
            self.stream.write(batch)
            self.rows_written += rows
            self.bytes_written += size_bytes
            self.batches_written += 1
            self.row_bytes_max = max(self.row_bytes_max, _largest_row_bytes(batch, size_bytes))
            first_ns, last_ns = known.span_ns or _span_of(batch)
            self.start_ns = first_ns if self.start_ns is None else min(self.start_ns, first_ns)
            self.end_ns = last_ns if self.end_ns is None else max(self.end_ns, last_ns)

    def _drop(self, size_bytes: int) -> None:
        self.oversize += 1
        if self.oversize == 1:
            self.report(
                f"a row of {size_bytes} bytes is larger than the {self.limits.bytes_max} bytes the "
                "server accepts and was dropped"
            )


def _span_of(batch: pa.RecordBatch) -> Span:
    """Give the first and last time of a batch; numpy's start-up costs more than a few rows."""
    times = batch.column(0)  # the envelope comes first in every model
    if batch.num_rows <= _FEW_ROWS:
        few_ns = times.to_pylist()
        return min(few_ns), max(few_ns)
    times_ns = times.to_numpy()
    return int(times_ns.min()), int(times_ns.max())


def _largest_row_bytes(batch: pa.RecordBatch, size_bytes: int) -> int:
    """Give the size of the largest row; of a batch in which none can be too large, the mean."""
    rows = batch.num_rows
    if rows == 1 or size_bytes <= _SMALL_BYTES:
        return size_bytes // int(rows)
    largest_bytes = 0
    for half in (batch.slice(0, rows // 2), batch.slice(rows // 2)):
        half_bytes = pa.ipc.get_record_batch_size(half)
        largest_bytes = max(largest_bytes, _largest_row_bytes(half, half_bytes))
    return largest_bytes


def _roughly_bytes(value: object) -> int:
    """Estimate the Arrow size of a row's value, cheaply, to know when a batch is full."""
    if isinstance(value, Mapping):
        return sum(_roughly_bytes(part) for part in value.values())
    if isinstance(value, bytes | bytearray | memoryview | str):
        return len(value) + _PUSH_BYTES_PER_VALUE
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], Mapping | list | tuple | str | bytes):
            return sum(_roughly_bytes(part) for part in value)
        return _PUSH_BYTES_PER_VALUE * len(value)
    return int(getattr(value, "nbytes", _PUSH_BYTES_PER_VALUE))
