"""Makes the batches that the limit puts: the very ones that an ingest would send."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from bridge.bags import load_recording, open_recording
from bridge.ingest import Identity, IngestOptions, NoEvents
from bridge.ingest.batches import Batcher
from bridge.ingest.topic_lanes import kinds_of, plan_lanes
from bridge.model import MessageBlock, MixedBlock


def write_ready_made(recording: Path, folder: Path) -> tuple[int, int]:
    """Write the batches of a recording into a folder, one Arrow file for each topic.

    Returns:
        Their size as Arrow IPC in bytes, plain and with lz4-compressed bodies.
    """
    folder.mkdir()
    lz4 = pa.ipc.IpcWriteOptions(compression="lz4")
    plain_bytes = lz4_bytes = 0
    with ExitStack() as stack:
        writers: dict[int, Any] = {}
        for topic, batch in mapped_batches(recording):
            if topic not in writers:
                sink = stack.enter_context(pa.OSFile(str(folder / f"{topic}.arrow"), "wb"))
                writers[topic] = stack.enter_context(pa.ipc.new_file(sink, batch.schema))
            writers[topic].write_batch(batch)
            plain_bytes += pa.ipc.get_record_batch_size(batch)
            lz4_bytes += body_bytes(batch, lz4)
    return plain_bytes, lz4_bytes


def mapped_batches(recording: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield what an ingest would send: the topic's number and the batch."""
    options = IngestOptions(identity=Identity(instance="benchmark"))
    with open_recording(load_recording(recording)) as reader:
        lanes, _ = plan_lanes(reader, options, NoEvents())
        batcher = Batcher(options.batches, kinds=kinds_of(lanes, len(reader.topics)))
        for block in due(reader.mixed_blocks(), batcher):
            yield block.topic, lanes[block.topic].convert(block).batch


def due(blocks: Iterator[MixedBlock], batcher: Batcher) -> Iterator[MessageBlock]:
    """Yield blocks as an ingest batches them, topic by topic."""
    for block in blocks:
        for portion in batcher.add(block):
            yield from portion.by_topic()
    for portion in batcher.flush():
        yield from portion.by_topic()


def body_bytes(batch: pa.RecordBatch, options: pa.ipc.IpcWriteOptions) -> int:
    """Measure a batch as Arrow IPC, compressed as the options say."""
    sink = pa.MockOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return int(sink.size())
