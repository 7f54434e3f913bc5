"""Makes the batches that the limit puts: the very ones that an ingest would send."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from bridge.bags import load_recording, open_recording
from bridge.ingest import Identity, IngestOptions, NoEvents
from bridge.ingest.batches import Batcher
from bridge.ingest.lanes import plan_lanes
from bridge.model import MessageBlock


def write_ready_made(recording: Path, target: Path) -> tuple[int, int]:
    """Write the batches of a recording with one topic as an Arrow file.

    Returns:
        Their size as Arrow IPC in bytes, plain and with lz4-compressed bodies.
    """
    options = IngestOptions(identity=Identity(instance="benchmark"))
    lz4 = pa.ipc.IpcWriteOptions(compression="lz4")
    plain_bytes = lz4_bytes = 0
    with open_recording(load_recording(recording)) as reader:
        lanes, _ = plan_lanes(reader, options, NoEvents())
        (lane,) = lanes.values()
        batcher = Batcher(options.batches)
        with (
            pa.OSFile(str(target), "wb") as sink,
            pa.ipc.new_file(sink, lane.plan.model.schema) as writer,
        ):
            for block in _due(reader.blocks(), batcher):
                batch = lane.convert(block).batch
                writer.write_batch(batch)
                plain_bytes += pa.ipc.get_record_batch_size(batch)
                lz4_bytes += _size(batch, lz4)
    return plain_bytes, lz4_bytes


def _due(blocks: Iterator[MessageBlock], batcher: Batcher) -> Iterator[MessageBlock]:
    for block in blocks:
        yield from batcher.add(block)
    yield from batcher.flush()


def _size(batch: pa.RecordBatch, options: pa.ipc.IpcWriteOptions) -> int:
    sink = pa.MockOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return int(sink.size())
