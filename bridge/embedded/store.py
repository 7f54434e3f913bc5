"""The store: topics' data as Parquet files, one row group per chunk, durable once sealed.

    chunks/<topic uuid>/000000.parquet        sealed: complete, on disk, listed in the catalogue
    chunks/<topic uuid>/000001.parquet.part   being written; worthless after a crash

A chunk is what one received record batch becomes. Chunks of a topic share files (segments), so
that a topic of many small batches costs one fsync, not one per batch. A segment is written beside
its final name, flushed, renamed, and its folder flushed; only then may the catalogue list it. A
kill before that leaves files no catalogue row names, and `sweep` removes them at the next start.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bridge.embedded.catalogue import SegmentRecord, TopicRecord
from bridge.ontology import TIMESTAMP_COLUMN, is_list

# The platform judges a batch when it decodes it: a null in a required field breaks the stream,
# unless the struct around it is null itself, for then nobody can see it (the platform asks nothing
# else of a schema). Parquet has the same view except in one place: a required list of fixed size
# inside a null struct is written, but cannot be read back. Such lists are stored as optional ones.


def null_fault(batch: pa.RecordBatch) -> str:
    """Name the required field, by dotted path, in which a null can be seen; empty if none.

    Cost: a look at each null count; masks are made only of fields that have nulls.
    """
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if fault := _fault(field.name, field, column, None):
            return fault
    return ""


def _fault(path: str, field: pa.Field, values: pa.Array, seen: pa.Array | None) -> str:
    """Look into one field; `seen` masks the rows whose ancestors are all there, None for all."""
    if not field.nullable and values.null_count:
        nulls = values.is_null()
        if pc.any(nulls if seen is None else pc.and_(nulls, seen)).as_py():
            return path
    if pa.types.is_struct(field.type):
        if values.null_count:
            there = values.is_valid()
            seen = there if seen is None else pc.and_(there, seen)
        for index in range(field.type.num_fields):
            inner = field.type.field(index)
            if fault := _fault(f"{path}.{inner.name}", inner, values.field(index), seen):
                return fault
    elif is_list(field.type) and _may_fault(field.type.value_field):
        return _fault(f"{path}[]", field.type.value_field, values.flatten(), None)
    return ""


def _may_fault(field: pa.Field) -> bool:
    return not field.nullable or pa.types.is_nested(field.type)


def storable(schema: pa.Schema) -> pa.Schema:
    """Give the schema in which a topic is stored, from which `cast` leads back to its own."""
    return pa.schema([_storable(field) for field in schema], metadata=schema.metadata)


def _storable(field: pa.Field) -> pa.Field:
    """Make the lists of fixed size inside structs optional; what is at the top stays."""
    if pa.types.is_struct(field.type):
        inner = [_storable(field.type.field(index)) for index in range(field.type.num_fields)]
        inner = [
            each.with_nullable(nullable=True) if pa.types.is_fixed_size_list(each.type) else each
            for each in inner
        ]
        return field.with_type(pa.struct(inner))
    if pa.types.is_list(field.type):
        return field.with_type(pa.list_(_storable(field.type.value_field)))
    return field


def as_declared(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Give stored batches in the schema they were put with."""
    if storable(schema).equals(schema):
        return iter(batches)
    return (
        pa.record_batch(
            [
                _declared(column, kind)
                for column, kind in zip(batch.columns, schema.types, strict=True)
            ],
            schema=schema,
        )
        for batch in batches
    )


def _declared(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Give values a type that differs in what may be null; a cast refuses even unseen nulls."""
    if values.type.equals(kind):
        return values
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        inner = [_declared(values.field(index), field.type) for index, field in enumerate(fields)]
        mask = values.is_null() if values.null_count else None
        return pa.StructArray.from_arrays(inner, fields=fields, mask=mask)
    if pa.types.is_list(kind):
        items = _declared(values.values, kind.value_type)
        buffers = values.buffers()[:2]
        return pa.Array.from_buffers(
            kind, len(values), buffers, offset=values.offset, children=[items]
        )
    return values.cast(kind)


SEGMENT_BYTES_MAX = 256 * 2**20
"""A segment is sealed once this much Arrow data went into it; a chunk is never split."""


class Store:
    """The folder that holds the data of all topics."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def path(self, topic: TopicRecord, number: int) -> Path:
        """Where a sealed segment lies."""
        return self._folder / topic.uuid / f"{number:06d}.parquet"

    def write(self, topic: TopicRecord, schema: pa.Schema) -> "TopicData":
        """Begin to write the data of a topic."""
        make_folder(self._folder / topic.uuid)
        return TopicData(self, topic, schema)

    def remove(self, topics: Collection[TopicRecord]) -> None:
        """Remove the data of topics the catalogue has already forgotten."""
        for topic in topics:
            shutil.rmtree(self._folder / topic.uuid, ignore_errors=True)

    def sweep(self, known: Mapping[str, Collection[int]]) -> list[Path]:
        """Remove what a crash left behind: files and folders that the catalogue does not list.

        Args:
            known: Numbers of the sealed segments by topic uuid.

        Returns:
            What was removed.
        """
        removed = []
        for folder in self._folder.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder)
                removed.append(folder)
                continue
            names = {f"{number:06d}.parquet" for number in known[folder.name]}
            for file in folder.iterdir():
                if file.name not in names:
                    file.unlink()
                    removed.append(file)
        return removed


class TopicData:
    """Writes the batches of one put stream; used by the one thread that serves the stream."""

    def __init__(self, store: Store, topic: TopicRecord, schema: pa.Schema) -> None:
        self._store = store
        self._topic = topic
        self._schema = storable(schema)
        self._options = writer_options(schema, serialization_format=topic.serialization_format)
        self._segment: _Segment | None = None
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._segment is not None:
            self._segment.discard()
            self._segment = None

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch as one chunk; a batch without rows makes none."""
        if batch.num_rows == 0:
            return
        if self._segment is None:
            path = self._store.path(self._topic, self._number)
            self._segment = _Segment(path, self._number, self._schema, self._options)
            self._number += 1
        self._segment.append(
            batch if batch.schema.equals(self._schema) else batch.cast(self._schema)
        )

    @property
    def is_full(self) -> bool:
        """Whether the open segment has reached its size and should be sealed."""
        return self._segment is not None and self._segment.arrow_bytes >= SEGMENT_BYTES_MAX

    def seal(self) -> SegmentRecord | None:
        """Make the open segment durable; None when there is none.

        Cost: waits for the disk.
        """
        segment, self._segment = self._segment, None
        return segment.seal() if segment is not None else None


class _Segment:
    """A Parquet file while it is written."""

    def __init__(
        self, path: Path, number: int, schema: pa.Schema, options: Mapping[str, object]
    ) -> None:
        self.arrow_bytes = 0
        self._path = path
        self._part = path.with_suffix(".parquet.part")
        self._number = number
        self._rows = 0
        self._chunks = 0
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._file = pa.OSFile(str(self._part), "wb")
        try:
            self._writer = pq.ParquetWriter(self._file, schema, **options)
        except BaseException:
            self._file.close()
            raise

    def append(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=batch.num_rows)
        bounds = pc.min_max(batch.column(TIMESTAMP_COLUMN))
        if (first_ns := bounds["min"].as_py()) is not None:
            last_ns = bounds["max"].as_py()
            self._first_ns = first_ns if self._first_ns is None else min(self._first_ns, first_ns)
            self._last_ns = last_ns if self._last_ns is None else max(self._last_ns, last_ns)
        self._rows += batch.num_rows
        self._chunks += 1
        self.arrow_bytes += batch.nbytes

    def seal(self) -> SegmentRecord:
        try:
            self._writer.close()
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise
        finally:
            self._file.close()
        size_bytes = self._part.stat().st_size
        flush(self._part)
        self._part.rename(self._path)
        flush(self._path.parent)
        return SegmentRecord(
            number=self._number,
            chunks=self._chunks,
            rows=self._rows,
            size_bytes=size_bytes,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
        )

    def discard(self) -> None:
        # The writer insists on a footer when it goes; closing the file first would make it fail.
        try:
            self._writer.close()
        finally:
            self._file.close()
            self._part.unlink(missing_ok=True)


def writer_options(schema: pa.Schema, *, serialization_format: str) -> dict[str, object]:
    """Choose how Parquet stores a schema: cheap to write, and able to skip by value.

    Payloads of images do not compress and are stored as they are. Statistics are kept of columns a
    content query can compare; minima of binary payloads would only bloat the footer.
    """
    return {
        "compression": "none" if serialization_format == "image" else "lz4",
        "use_dictionary": [field.name for field in schema if pa.types.is_dictionary(field.type)]
        or False,
        "write_statistics": comparable_columns(schema),
        "store_schema": True,
    }


def comparable_columns(schema: pa.Schema) -> list[str]:
    """Name the leaf columns, by dotted path, whose values have an order worth keeping."""
    found: list[str] = []
    waiting = [(field.name, field.type) for field in reversed(schema)]
    while waiting:
        path, kind = waiting.pop()
        if pa.types.is_struct(kind):
            inner = [kind.field(index) for index in range(kind.num_fields)]
            waiting += [(f"{path}.{field.name}", field.type) for field in reversed(inner)]
        elif not pa.types.is_nested(kind) and not pa.types.is_binary(kind):
            found.append(path)
    return found


def make_folder(folder: Path) -> None:
    """Make a folder, with its parents, that is still there after a power cut."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush(folder.parent)


def flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
