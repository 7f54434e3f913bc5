"""What is timed: our ingest, the vendor's injector, and the limit; each in a process of its own.

A subject imports everything first, then waits for the word, so that start-up costs nobody
anything. While it runs, its memory (PSS: shared pages counted once) is sampled from outside.
"""

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SAMPLE_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One run.

    Attributes:
        seconds: Wall clock.
        peak_bytes: Highest PSS seen.
    """

    seconds: float
    peak_bytes: int


def timed(prepare: Callable[..., Callable[[], None]], *arguments: Any) -> Timing:
    """Run a subject in a fresh process.

    Args:
        prepare: A module-level function that gets ready and returns what to time.
        arguments: For `prepare`.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, prepare, arguments), daemon=True)
    process.start()
    assert process.pid is not None
    assert ours.recv() == "ready"
    sampler = _Sampler(process.pid)
    with sampler:
        ours.send("go")
        seconds = ours.recv()
    ours.send("end")
    process.join(30)
    if isinstance(seconds, BaseException):
        raise seconds
    return Timing(seconds=seconds, peak_bytes=sampler.peak_bytes)


def _run(pipe: Connection, prepare: Callable[..., Callable[[], None]], arguments: Any) -> None:
    try:
        call = prepare(*arguments)
        pipe.send("ready")
        pipe.recv()
        started = time.perf_counter()
        call()
        pipe.send(time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        pipe.send(error)
    pipe.recv()
    os._exit(0)


class _Sampler:
    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._file = Path(f"/proc/{pid}/smaps_rollup")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            for line in self._file.read_text().splitlines():
                if line.startswith("Pss:"):
                    self.peak_bytes = max(self.peak_bytes, int(line.split()[1]) * 1024)


def ours(path: Path, port: int, sequence: str) -> Callable[[], None]:
    """Ingest with this project, as a worker does."""
    from bridge.bags import load_recording
    from bridge.client import MosaicoClient
    from bridge.ingest import Identity, IngestOptions, ingest

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
    config = ROSInjectionConfig(
        file_path=path,
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
    """Read and decompress the file's chunks, then put batches that were made before."""
    import json

    import pyarrow as pa
    from mcap.records import Chunk
    from mcap.stream_reader import StreamReader
    from pyarrow import flight

    with pa.ipc.open_file(pa.memory_map(str(ready_made))) as reader:
        schema = reader.schema
        # Copied out of the mapping, so that reading that file is not part of the time.
        batches = [
            pa.ipc.read_record_batch(
                pa.py_buffer(reader.get_batch(number).serialize().to_pybytes()), schema
            )
            for number in range(reader.num_record_batches)
        ]

    def call() -> None:
        with path.open("rb", buffering=1 << 20) as stream:
            for record in StreamReader(stream, emit_chunks=True).records:
                if isinstance(record, Chunk) and record.compression:
                    pa.decompress(record.data, record.uncompressed_size, codec=record.compression)
        client = flight.FlightClient(f"grpc://127.0.0.1:{port}")
        locator = f"{sequence}/{path.stem}"
        body = {"locator": locator, "ontology_tag": "x", "serialization_format": "default"}
        list(client.do_action(flight.Action("topic_create", json.dumps(body).encode())))
        descriptor = flight.FlightDescriptor.for_command(
            json.dumps({"resource_locator": locator}).encode()
        )
        writer, _ = client.do_put(descriptor, schema)
        for batch in batches:
            writer.write_batch(batch)
        writer.close()
        client.close()

    return call
