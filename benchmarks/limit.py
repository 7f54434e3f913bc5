"""What nothing can beat: two processes at once, of which each does one half as well as it can be.

One reads the file's bytes and decompresses its chunks, by a thread for each core; the other sends
batches that were made before, the rows and columns of an ingest, cut to the size that goes fastest.
Neither looks into a message. The limit is the larger of both times, in the best of several runs.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sink import RunningSink
from benchmarks.subjects import open_put
from benchmarks.timing import Started, timed, together

BATCH_BYTES = tuple(mebibytes << 20 for mebibytes in (2, 4, 8, 16))
"""Sizes of batches that are tried."""

READ_BYTES = 4 << 20
CHUNK_HEAD_BYTES = 9 + 8 + 8 + 8 + 4 + 4
"""Of an MCAP chunk, up to the name of its compression, which the length of its records follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What the two processes took.

    Attributes:
        seconds: From the start of both to the end of the slower one.
        read_s: The reader alone of it.
        send_s: The sender alone of it.
        cpu_s: Processor time of both.
    """

    seconds: float
    read_s: float
    send_s: float
    cpu_s: float

    @property
    def half(self) -> str:
        """Which half takes longer."""
        return "reading" if self.read_s >= self.send_s else "sending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the reader has gone through.

    Attributes:
        file_bytes: Read from the file.
        chunk_bytes: What compressed chunks became; 0 for a file without.
    """

    file_bytes: int
    chunk_bytes: int


def best_batch_bytes(
    sink: RunningSink, ready_made: Path, sizes: Sequence[int] = BATCH_BYTES
) -> int:
    """Find the size of batches that goes fastest, each tried once by itself."""
    if len(sizes) == 1:
        return sizes[0]
    found = []
    for size in sizes:
        run = timed(sending, sink.port, "trial", ready_made, size)
        sink.sums()
        found.append((run.seconds, size))
    return min(found)[1]


def measure(
    path: Path, sink: RunningSink, sequence: str, ready_made: Path, batch_bytes: int
) -> Limit:
    """Run both halves at once."""
    pair = [
        Started(reading, path),
        Started(sending, sink.port, sequence, ready_made, batch_bytes),
    ]
    _, runs = together(pair)
    read, sent = runs
    return Limit(
        seconds=max(read.seconds, sent.seconds),
        read_s=read.seconds,
        send_s=sent.seconds,
        cpu_s=read.cpu_s + sent.cpu_s,
    )


def reading(path: Path) -> Callable[[], Content]:
    """Read a file, or a folder's, and decompress the chunks of an MCAP file."""
    import pyarrow as pa

    from bridge.daemon.work.memory import keep_freed_memory

    keep_freed_memory()
    chunks = _compressed_chunks(path)
    files = [path] if path.is_file() else sorted(path.glob("*.db3"))

    def call() -> Content:
        if not chunks:
            return Content(file_bytes=sum(map(_read, files)), chunk_bytes=0)
        descriptor = os.open(path, os.O_RDONLY)

        def expand(chunk: tuple[int, int, int, str]) -> int:
            start, size, expanded, codec = chunk
            data = pa.decompress(os.pread(descriptor, size, start), expanded, codec=codec)
            return len(data)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            content = sum(pool.map(expand, chunks))
        os.close(descriptor)
        return Content(file_bytes=sum(size for _, size, _, _ in chunks), chunk_bytes=content)

    return call


def _read(file: Path) -> int:
    """Read a whole file into the same memory again and again."""
    held = bytearray(READ_BYTES)
    total = 0
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(held):
            total += count
    return total


def _compressed_chunks(path: Path) -> list[tuple[int, int, int, str]]:
    """Give start, size, size afterwards and codec of the compressed chunks of an MCAP file."""
    from mcap.reader import make_reader

    if path.suffix != ".mcap":
        return []
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    return [
        (
            each.chunk_start_offset + CHUNK_HEAD_BYTES + len(each.compression) + 8,
            each.compressed_size,
            each.uncompressed_size,
            each.compression,
        )
        for each in summary.chunk_indexes
        if each.compression
    ]


def sending(port: int, sequence: str, ready_made: Path, batch_bytes: int) -> Callable[[], None]:
    """Put batches that were made before, cut to a size, topic by topic."""
    from pyarrow import flight

    from bridge.daemon.work.memory import keep_freed_memory

    keep_freed_memory()
    topics = {file.stem: _loaded(file, batch_bytes) for file in sorted(ready_made.glob("*.arrow"))}

    def call() -> None:
        client = flight.FlightClient(f"grpc://127.0.0.1:{port}")
        for topic, batches in topics.items():
            writer = open_put(client, f"{sequence}/{topic}", batches[0].schema)
            for batch in batches:
                writer.write_batch(batch)
            writer.close()
        client.close()

    return call


def _loaded(file: Path, batch_bytes: int) -> list[Any]:
    """Copy batches out of their file and cut them to a size, so that this is not part of the time.

    Several are made one where they are smaller. Each is what a reader of Arrow makes of bytes that
    lie in one piece, without a look at what was before or after it.
    """
    import pyarrow as pa

    with pa.ipc.open_file(pa.memory_map(str(file))) as reader:
        table = reader.read_all()
    rows = max(1, table.num_rows * batch_bytes // max(1, table.nbytes))
    batches = []
    for start in range(0, table.num_rows, rows):
        for batch in table.slice(start, rows).combine_chunks().to_batches():
            packed = pa.py_buffer(batch.serialize().to_pybytes())
            batches.append(pa.ipc.read_record_batch(packed, table.schema))
    return batches
