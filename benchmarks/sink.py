"""A platform that keeps nothing but sums: the same sink for us, the vendor and the limit.

Speaks just enough of the current revision for both clients, in a process of its own. It adds up
rows, record times and bytes of every topic, so that a timed run also proves what arrived.
"""

import json
import multiprocessing
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped] # ships no types
import pyarrow as pa
from pyarrow import flight

MESSAGE_BYTES_MAX = 52_428_800
MODULUS = 1 << 64


@dataclass(slots=True, kw_only=True)
class Topic:
    """What arrived of a topic."""

    tag: str = ""
    serialization_format: str = "default"
    schema: Any = None
    rows: int = 0
    batches: int = 0
    arrow_bytes: int = 0
    times_sum: int = 0
    start_ns: int | None = None
    end_ns: int | None = None
    whole: bool = False

    def add(self, batch: pa.RecordBatch) -> None:
        times_ns = batch.column("timestamp_ns").to_numpy()
        self.rows += batch.num_rows
        self.batches += 1
        self.arrow_bytes += pa.ipc.get_record_batch_size(batch)
        self.times_sum = (self.times_sum + int(times_ns.view(np.uint64).sum())) % MODULUS
        first, last = int(times_ns.min()), int(times_ns.max())
        self.start_ns = first if self.start_ns is None else min(self.start_ns, first)
        self.end_ns = last if self.end_ns is None else max(self.end_ns, last)

    def facts(self, locator: str) -> bytes:
        interval = None
        if self.start_ns is not None:
            interval = {"start_ns": self.start_ns, "end_ns": self.end_ns}
        return json.dumps(
            {
                "created_at_ns": 1,
                "completed_at_ns": 2 if self.whole else None,
                "locked": self.whole,
                "resource_locator": locator,
                "ontology_tag": self.tag,
                "serialization_format": self.serialization_format,
                "user_metadata": {},
                "data_info": {
                    "interval": interval,
                    "total_row_count": self.rows,
                    "total_bytes": self.arrow_bytes,
                    "total_chunks_count": self.batches,
                },
                "time_window_info": None,
            }
        ).encode()


class Sink(flight.FlightServerBase):  # type: ignore[misc]
    """Counts and forgets."""

    def __init__(self) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self.topics: dict[str, Topic] = {}
        self.sequences: dict[str, dict[str, Any]] = {}

    def do_action(self, context: Any, action: Any) -> Iterator[bytes]:
        del context
        body = json.loads(bytes(action.body))
        response = getattr(self, f"_{action.type}", lambda _: None)(body)
        yield json.dumps({"action": action.type, "response": response}).encode()

    def _info(self, _: Any) -> dict[str, Any]:
        return {
            "version": "0.7.0",
            "semver": {"major": 0, "minor": 7, "patch": 0, "pre": ""},
            "config": {
                "grpc_max_decode_message_size": MESSAGE_BYTES_MAX,
                "grpc_max_encode_message_size": MESSAGE_BYTES_MAX,
                "grpc_target_encode_message_size": MESSAGE_BYTES_MAX // 2,
            },
        }

    def _sequence_create(self, body: dict[str, Any]) -> None:
        self.sequences[body["locator"]] = body["user_metadata"]

    def _sequence_delete(self, body: dict[str, Any]) -> None:
        self.sequences.pop(body["locator"], None)

    def _session_create(self, body: dict[str, Any]) -> dict[str, str]:
        locator = f"{body['locator']}:01JQ3E5B8Z4T6W9X2Y7K1M0NPR"
        return {"uuid": str(uuid.uuid4()), "locator": locator}

    def _topic_create(self, body: dict[str, Any]) -> dict[str, str]:
        self.topics[body["locator"]] = Topic(
            tag=body["ontology_tag"], serialization_format=body["serialization_format"]
        )
        return {"uuid": str(uuid.uuid4())}

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        del writer
        topic = self.topics[json.loads(descriptor.command)["resource_locator"]]
        topic.schema = reader.schema
        for chunk in reader:
            topic.add(chunk.data)
        topic.whole = not context.is_cancelled()

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        del context
        locator = json.loads(descriptor.command)["resource_locator"]
        name = locator.split("/")[0]
        if name not in self.sequences:
            raise KeyError("not found.")
        mine = {
            key: topic
            for key, topic in self.topics.items()
            if key == locator or ("/" not in locator and key.startswith(f"{name}/"))
        }
        endpoints = [
            flight.FlightEndpoint(key.encode(), [], None, topic.facts(key))
            for key, topic in mine.items()
        ]
        facts = {
            "created_at_ns": 1,
            "resource_locator": name,
            "user_metadata": self.sequences[name],
            "sessions": [
                {
                    "locator": f"{name}:01JQ3E5B8Z4T6W9X2Y7K1M0NPR",
                    "created_at_ns": 1,
                    "completed_at_ns": 2,
                    "locked": True,
                    "topics": list(mine),
                }
            ],
        }
        return flight.FlightInfo(
            pa.schema([]), descriptor, endpoints, app_metadata=json.dumps(facts).encode()
        )

    def get_schema(self, context: Any, descriptor: Any) -> Any:
        del context
        locator = json.loads(descriptor.command)["resource_locator"]
        return flight.SchemaResult(self.topics[locator].schema)


def _serve(pipe: Connection) -> None:
    sink = Sink()
    pipe.send(sink.port)
    while pipe.recv() == "sums":
        sums = {
            name: (topic.rows, topic.times_sum, topic.arrow_bytes, topic.batches)
            for name, topic in sink.topics.items()
        }
        # Before the answer: the client may create the next topic at once.
        sink.topics.clear()
        sink.sequences.clear()
        pipe.send(sums)
    sink.shutdown()


class RunningSink:
    """A sink in a process of its own."""

    def __init__(self, pipe: Connection, port: int, pid: int) -> None:
        self._pipe = pipe
        self.port = port
        self.pid = pid

    def sums(self) -> dict[str, tuple[int, int, int, int]]:
        """Give rows, sum of record times, Arrow bytes and batches by topic, and reset them."""
        self._pipe.send("sums")
        return dict(self._pipe.recv())

    def cpu_s(self) -> float:
        """Give the processor time that it has taken so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def running_sink() -> Iterator[RunningSink]:
    """Run a sink until the block ends."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs,), daemon=True
    )
    process.start()
    assert process.pid is not None
    try:
        sink = RunningSink(ours, ours.recv(), process.pid)
        _warm_up(sink)
        yield sink
    finally:
        ours.send("stop")
        process.join(10)


def _warm_up(sink: RunningSink) -> None:
    """Put one row, so that the first subject does not pay for what the sink loads late."""
    client = flight.FlightClient(f"grpc://127.0.0.1:{sink.port}")
    body = {"locator": "warm/up", "ontology_tag": "x", "serialization_format": "default"}
    list(client.do_action(flight.Action("topic_create", json.dumps(body).encode())))
    batch = pa.record_batch({"timestamp_ns": pa.array([1], pa.int64())})
    command = json.dumps({"resource_locator": "warm/up"}).encode()
    writer, _ = client.do_put(flight.FlightDescriptor.for_command(command), batch.schema)
    writer.write_batch(batch)
    writer.close()
    client.close()
    sink.sums()


def times_sum(start_ns: int, step_ns: int, count: int) -> int:
    """Give the sum that the sink reports for so many evenly spaced record times."""
    return (count * start_ns + step_ns * count * (count - 1) // 2) % MODULUS


if __name__ == "__main__":
    with running_sink() as sink:
        print(sink.port)
        time.sleep(3600)
