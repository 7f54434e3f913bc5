"""The batches of one topic of an old server, kept in the store of the embedded one."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import pyarrow as pa

from bridge.embedded.catalogue import TopicRecord, TopicState
from bridge.embedded.query.reading import TopicReader, Window
from bridge.embedded.store import Store, as_declared


class Shelf(Sequence[pa.RecordBatch]):
    """Each batch is a sealed segment on disk; reading gives them back in the order they came."""

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder)
        self._paths: list[Path] = []
        self._schema = pa.schema([])
        self._empties = 0

    def append(self, batch: pa.RecordBatch) -> None:
        self._schema = batch.schema
        if not batch.num_rows:
            self._empties += 1
            return
        nothing = (0, 0, 0, None, None)
        state, key = TopicState.UPLOADING, str(uuid.uuid4())
        topic = TopicRecord(
            1, 1, 1, key, "a/b", "T", "default", "{}", 0, None, state, None, *nothing
        )
        with self._store.write(topic, batch.schema) as data:
            data.append(batch)
            segment = data.seal()
        if segment is not None:
            self._paths.append(self._store.path(topic, segment.number))

    def clear(self) -> None:
        """Lose the files."""
        self._paths, self._empties = [], 0

    def __len__(self) -> int:
        return len(self._paths) + self._empties

    @overload
    def __getitem__(self, index: int) -> pa.RecordBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[pa.RecordBatch]: ...
    def __getitem__(self, index: int | slice) -> pa.RecordBatch | list[pa.RecordBatch]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if len(self._paths) <= index < len(self):
            return pa.RecordBatch.from_pylist([], schema=self._schema)
        with TopicReader([self._paths[index]]) as reader:
            rows = sum(chunk.rows for chunk in reader.chunks)
            table = pa.concat_tables(reader.in_order(Window(), rows_max=rows))
        (batch,) = as_declared(table.combine_chunks().to_batches(), self._schema)
        return batch
