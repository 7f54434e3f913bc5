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


def write_ready_made(recording: Path, folder: Path) -> None:
    """Write the batches of a recording into a folder, one Arrow file for each topic."""
    folder.mkdir()
    with ExitStack() as stack:
        writers: dict[int, Any] = {}
        for topic, batch in mapped_batches(recording):
            if topic not in writers:
                sink = stack.enter_context(pa.OSFile(str(folder / f"{topic}.arrow"), "wb"))
                writers[topic] = stack.enter_context(pa.ipc.new_file(sink, batch.schema))
            writers[topic].write_batch(batch)


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
