"""The client against bare pyarrow Flight: same batches, same server, taken in turns.

Writing goes to the null sink, which counts rows and bytes of both; reading comes from the embedded
server, whose rows are counted by both. The two take turns in one process, each going first every
other time, and medians count. The CPU time of this process is given beside the clock, because
it means something on a busy machine as well.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import flight

from benchmarks.cases import stream
from benchmarks.messages import START_NS, imu
from benchmarks.ready_made import mapped_batches
from benchmarks.recordings import write_mcap
from benchmarks.relay import Relay
from benchmarks.scope import Scope
from benchmarks.served import served
from benchmarks.sink import RunningSink, running_sink
from benchmarks.subjects import open_put
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import FIGURES, Spent, clocked, in_turns, spent
from bridge.client import MosaicoClient
from bridge.ontology import IMU, CompressedImage

SIZES_BYTES = tuple(kibibytes << 10 for kibibytes in (64, 256, 1024, 4096, 8192))
TOTAL_BYTES, QUICK_TOTAL_BYTES = 512 << 20, 16 << 20
IMU_ROWS, QUICK_IMU_ROWS = 400_000, 4_000
IMU_RATE_HZ = 200.0
TURNS_MIN = 10


def run(scope: Scope) -> list[Table]:
    """Measure writing by batch size, reading, and bytes on the wire by compression."""
    total_bytes = QUICK_TOTAL_BYTES if scope.quick else int(TOTAL_BYTES * scope.scale)
    turns = 2 if scope.quick else max(TURNS_MIN, scope.runs)
    parts = []
    with running_sink() as sink:
        scope.say("client: writing")
        rows = [_writing(sink, size, total_bytes, turns) for size in SIZES_BYTES]
        parts.append(
            Table(
                "`write_batch` against bare Flight, null sink",
                ("batch KiB", "batches", *FIGURES),
                rows,
            )
        )
        scope.say("client: wire")
        rows_wanted = QUICK_IMU_ROWS if scope.quick else int(IMU_ROWS * scope.scale)
        measured = motions(scope.folder, rows_wanted)
        wire = _wire(sink, measured)
    scope.say("client: reading")
    parts.append(
        Table(
            "`TopicHandler.batches` against bare Flight, embedded server",
            ("topic", "MiB", *FIGURES),
            _reading(scope, measured, total_bytes // 2, turns),
        )
    )
    parts.append(
        Table(
            "IMU on the wire by body compression",
            ("compression", "bytes sent", "share", "rows/s"),
            wire,
        )
    )
    return parts


def pictures(size_bytes: int, count: int) -> list[pa.RecordBatch]:
    """Make batches of one compressed image each."""
    noise = np.random.default_rng(1).integers(0, 256, size_bytes, dtype=np.uint8).tobytes()
    return [
        pa.RecordBatch.from_pylist(
            [{"timestamp_ns": START_NS + number, "data": noise, "format": "jpeg"}],
            schema=CompressedImage.schema,
        )
        for number in range(count)
    ]


def motions(folder: Path, rows: int) -> list[pa.RecordBatch]:
    """Make the batches that an ingest sends for so many IMU messages."""
    path = folder / "imu.mcap"
    each = stream("/imu", "sensor_msgs/msg/Imu", imu, IMU_RATE_HZ)
    write_mcap(path, [each], rows / IMU_RATE_HZ)
    batches = [batch for _, batch in mapped_batches(path)]
    path.unlink()
    return batches


def _writing(sink: RunningSink, size_bytes: int, total_bytes: int, turns: int) -> tuple[Any, ...]:
    batches = pictures(size_bytes, max(2, total_bytes // size_bytes))
    bare = flight.FlightClient(f"grpc://127.0.0.1:{sink.port}")
    with MosaicoClient.connect("127.0.0.1", sink.port) as client:

        def ours() -> Spent:
            with client.sequence_create("turn", {}) as sequence:
                topic = sequence.topic_create("ours", {}, CompressedImage)
                return spent(partial(_write_all, topic.write_batch, topic.close, batches))

        def plain() -> Spent:
            writer = open_put(bare, "turn/bare", CompressedImage.schema)
            return spent(partial(_write_all, writer.write_batch, writer.close, batches))

        def counted() -> None:
            arrived = set(sink.sums().values())
            if len(arrived) != 1 or next(iter(arrived))[0] != len(batches):
                raise SystemExit(f"client: {arrived} of {len(batches)} rows arrived")

        both = in_turns(ours, plain, turns, after=counted)
    bare.close()
    return str(size_bytes >> 10), len(batches), *both.figures(_mebibytes(batches))


def _write_all(
    write: Callable[[pa.RecordBatch], None],
    close: Callable[[], None],
    batches: list[pa.RecordBatch],
) -> None:
    for batch in batches:
        write(batch)
    close()


def _mebibytes(batches: list[pa.RecordBatch]) -> float:
    size_bytes: int = sum(pa.ipc.get_record_batch_size(batch) for batch in batches)
    return size_bytes / MEBIBYTE


def _wire(sink: RunningSink, batches: list[pa.RecordBatch]) -> list[tuple[Any, ...]]:
    rows = sum(batch.num_rows for batch in batches)
    found = []
    plain_bytes = 0
    for compression in (None, "lz4", "zstd"):
        with (
            Relay(sink.port) as relay,
            MosaicoClient.connect("127.0.0.1", relay.port, compression=compression) as client,
            client.sequence_create("wire", {}) as sequence,
        ):
            topic = sequence.topic_create("imu", {}, IMU)

            def write(topic: Any = topic) -> None:
                for batch in batches:
                    topic.write_batch(batch)
                topic.close()

            seconds = clocked(write)
        ((arrived, _, _, _),) = sink.sums().values()
        if arrived != rows:
            raise SystemExit(f"client: {arrived} of {rows} rows arrived")
        plain_bytes = plain_bytes or relay.sent_bytes
        share = relay.sent_bytes / plain_bytes
        found.append((compression or "none", relay.sent_bytes, share, rows / seconds))
    return found


def _reading(
    scope: Scope, measured: list[pa.RecordBatch], total_bytes: int, turns: int
) -> list[tuple[Any, ...]]:
    one_mib = 1 << 20
    topics = {
        "compressed_image": (CompressedImage, pictures(one_mib, max(2, total_bytes // one_mib))),
        "imu": (IMU, measured),
    }
    found = []
    with (
        served(scope.folder / "server") as port,
        MosaicoClient.connect("127.0.0.1", port) as client,
    ):
        with client.sequence_create("reading", {}) as sequence:
            for name, (model, batches) in topics.items():
                with sequence.topic_create(name, {}, model) as topic:
                    for batch in batches:
                        topic.write_batch(batch)
        flight_client = flight.FlightClient(f"grpc://127.0.0.1:{port}")
        for name, (_, batches) in topics.items():
            handler = client.topic_handler("reading", name)
            assert handler is not None
            rows = sum(batch.num_rows for batch in batches)
            counted: set[int] = set()
            bare = partial(_bare_batches, flight_client, f"reading/{name}")
            both = in_turns(
                partial(spent, partial(_count, handler.batches, counted)),
                partial(spent, partial(_count, bare, counted)),
                turns,
            )
            if counted != {rows}:
                raise SystemExit(f"client: read {counted} of {rows} rows")
            mebibytes = _mebibytes(batches)
            found.append((name, mebibytes, *both.figures(mebibytes)))
        flight_client.close()
    return found


def _count(read: Callable[[], Iterator[pa.RecordBatch]], counted: set[int]) -> None:
    counted.add(sum(batch.num_rows for batch in read()))


def _bare_batches(client: flight.FlightClient, locator: str) -> Iterator[pa.RecordBatch]:
    command = json.dumps({"resource_locator": locator}).encode()
    info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
    for chunk in client.do_get(info.endpoints[0].ticket):
        yield chunk.data
