"""What is timed: our ingest and the vendor's injector."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def ours(path: Path, port: int, sequence: str, compression: str = "") -> Callable[[], None]:
    """Ingest with this project, as a worker does; bodies are plain unless said otherwise."""
    from bridge.bags import load_recording
    from bridge.client import MosaicoClient
    from bridge.daemon.work.memory import keep_freed_memory, leave_pandas_out
    from bridge.ingest import Identity, IngestOptions, ingest

    keep_freed_memory()
    leave_pandas_out()
    options = IngestOptions(identity=Identity(instance="benchmark"), sequence_name=sequence)

    def call() -> None:
        with MosaicoClient.connect("127.0.0.1", port, compression=compression) as client:
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


def open_put(client: Any, locator: str, schema: Any) -> Any:
    """Create a topic at the sink and open its stream, with nothing but pyarrow."""
    from pyarrow import flight

    body = {"locator": locator, "ontology_tag": "x", "serialization_format": "default"}
    list(client.do_action(flight.Action("topic_create", json.dumps(body).encode())))
    command = json.dumps({"resource_locator": locator}).encode()
    writer, _ = client.do_put(flight.FlightDescriptor.for_command(command), schema)
    return writer
