"""What is timed: our ingest, the vendor's injector, and the limit."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def ours(path: Path, port: int, sequence: str) -> Callable[[], None]:
    """Ingest with this project, as a worker does."""
    import numpy as np
    import pyarrow as pa

    from bridge.bags import load_recording
    from bridge.client import MosaicoClient
    from bridge.daemon.work.memory import keep_freed_memory
    from bridge.ingest import Identity, IngestOptions, ingest

    keep_freed_memory()
    # Where pandas is installed, as the vendor's SDK has it, pyarrow imports it at the first array
    # from numpy; the bridge itself does not need it.
    pa.array(np.zeros(1))
    options = IngestOptions(identity=Identity(instance="benchmark"), sequence_name=sequence)

    def call() -> None:
        with MosaicoClient.connect("127.0.0.1", port) as client:
            ingest(load_recording(path), client=client, options=options)

    return call


def vendor(path: Path, port: int, sequence: str) -> Callable[[], None]:
    """Ingest with the vendor's injector."""
    from mosaicolabs.bridges.ros import RosbagInjector, ROSInjectionConfig

    logging.disable(logging.CRITICAL)
    # It draws progress bars; drawing them nowhere spares it the cost of a terminal.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    # It takes files, not folders.
    file = next(path.glob("*.db3")) if path.is_dir() else path
    config = ROSInjectionConfig(
        file_path=file,
        sequence_name=sequence,
        metadata={},
        host="127.0.0.1",
        port=port,
        log_level="CRITICAL",
    )

    def call() -> None:
        RosbagInjector(config).run()

    return call


def limit(path: Path, port: int, sequence: str, ready_made: Path) -> Callable[[], None]:
    """Read and decompress an MCAP file's chunks, then put batches that were made before."""
    import pyarrow as pa
    from mcap.records import Chunk
    from mcap.stream_reader import StreamReader
    from pyarrow import flight

    from bridge.daemon.work.memory import keep_freed_memory

    keep_freed_memory()
    topics = {file.stem: _loaded(file) for file in sorted(ready_made.iterdir())}

    def call() -> None:
        with path.open("rb", buffering=1 << 20) as stream:
            for record in StreamReader(stream, emit_chunks=True).records:
                if isinstance(record, Chunk) and record.compression:
                    pa.decompress(record.data, record.uncompressed_size, codec=record.compression)
        client = flight.FlightClient(f"grpc://127.0.0.1:{port}")
        for topic, batches in topics.items():
            writer = open_put(client, f"{sequence}/{topic}", batches[0].schema)
            for batch in batches:
                writer.write_batch(batch)
            writer.close()
        client.close()

    return call


def open_put(client: Any, locator: str, schema: Any) -> Any:
    """Create a topic at the sink and open its stream, with nothing but pyarrow."""
    from pyarrow import flight

    body = {"locator": locator, "ontology_tag": "x", "serialization_format": "default"}
    list(client.do_action(flight.Action("topic_create", json.dumps(body).encode())))
    command = json.dumps({"resource_locator": locator}).encode()
    writer, _ = client.do_put(flight.FlightDescriptor.for_command(command), schema)
    return writer


def _loaded(ready_made: Path) -> list[Any]:
    """Copy batches out of their file, so that reading that file is not part of the time."""
    import pyarrow as pa

    with pa.ipc.open_file(pa.memory_map(str(ready_made))) as reader:
        return [
            pa.ipc.read_record_batch(
                pa.py_buffer(reader.get_batch(number).serialize().to_pybytes()), reader.schema
            )
            for number in range(reader.num_record_batches)
        ]
