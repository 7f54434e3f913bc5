"""The embedded server: ingest against the null sink, reading against its own Parquet, queries.

Query times stand beside that of a bare round trip to the same server.
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cases import CASES
from benchmarks.ingest import write_case
from benchmarks.messages import START_NS
from benchmarks.scope import Scope
from benchmarks.served import served
from benchmarks.sink import running_sink
from benchmarks.subjects import ours
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import clocked, median_s, timed
from bridge.client import MosaicoClient, QueryOntologyCatalog, QuerySequence, QueryTopic
from bridge.ontology import Floating64, Temperature

CASE_NAMES = ("imu", "tf", "jpeg", "cloud")
SHARE, QUICK_SHARE = 0.3, 0.01
SEQUENCES, QUICK_SEQUENCES = 1_000, 20
ASKED = 10
VEHICLES = 20
ASKED_VEHICLE = 10  # one that is hot
ROWS = 10


def run(scope: Scope) -> list[Table]:
    """Measure ingest and reading for a few cases, and queries over many sequences."""
    rows = []
    for case in CASES:
        if case.name in CASE_NAMES and scope.wants(case.name):
            scope.say(f"embedded: {case.name}")
            share = QUICK_SHARE if scope.quick else SHARE * scope.scale
            rows.append(_through(case.name, case.seconds * share, scope))
    parts = [
        Table(
            "Embedded server",
            (
                "case", "rows", "Arrow MiB", "ingest MiB/s", "of null sink", "read MiB/s",
                "of bare Parquet",
            ),
            rows,
        )
    ]  # fmt: skip
    if scope.wants("query"):
        scope.say("embedded: query")
        count = QUICK_SEQUENCES if scope.quick else SEQUENCES
        title = f"Queries over {count:,} sequences, 2 topics each"
        parts.append(Table(title, ("query", "found", "ms", "x round trip"), _queries(scope, count)))
    return parts


def _through(name: str, seconds: float, scope: Scope) -> tuple[Any, ...]:
    case = next(case for case in CASES if case.name == name)
    path = write_case(case, scope.folder, name, seconds)
    rows = sum(case.counts(seconds).values())
    kept, null = [], []
    counted: list[int] = []
    with running_sink() as sink:
        for number in range(scope.runs):
            # Each has a server of its own: what one holds is not sent to it again.
            root = scope.folder / f"{name}_server_{number}"
            with served(root) as port:
                kept.append(timed(ours, path, port, "run"))
                read_s = _read_s(port, name, counted, scope.runs + 1)
            null.append(timed(ours, path, sink.port, f"run_{number}"))
            ((arrived, _, arrow_bytes, _),) = sink.sums().values()
            if arrived != rows:
                raise SystemExit(f"embedded: {arrived} of {rows} rows")
    files = list(root.rglob("*.parquet"))
    bare_s = min(
        clocked(lambda: counted.append(sum(_parquet_rows(file) for file in files)))
        for _ in range(scope.runs + 1)
    )
    if set(counted) != {rows}:
        raise SystemExit(f"embedded: read {set(counted)} of {rows} rows")
    mebibytes = arrow_bytes / MEBIBYTE
    path.unlink()
    return (
        name, rows, mebibytes, mebibytes / median_s(kept), median_s(null) / median_s(kept),
        mebibytes / read_s, bare_s / read_s,
    )  # fmt: skip


def _read_s(port: int, topic: str, counted: list[int], times: int) -> float:
    """Read a topic several times and give the shortest; enters the rows of each."""
    with MosaicoClient.connect("127.0.0.1", port) as client:
        handler = client.topic_handler("run", topic)
        assert handler is not None
        return min(
            clocked(lambda: counted.append(sum(batch.num_rows for batch in handler.batches())))
            for _ in range(times)
        )


def _parquet_rows(file: Path) -> int:
    return sum(batch.num_rows for batch in pq.ParquetFile(file).iter_batches())


def _queries(scope: Scope, count: int) -> list[tuple[Any, ...]]:
    with (
        served(scope.folder / "query_server") as port,
        MosaicoClient.connect("127.0.0.1", port) as client,
    ):
        for number in range(count):
            _write_sequence(client, number)
        hot = (count + 9) // 10
        vehicles = len(range(ASKED_VEHICLE, count, VEHICLES))
        asked: tuple[tuple[str, int, Callable[[], Any]], ...] = (
            (
                "QuerySequence, metadata equal",
                vehicles,
                lambda: client.query(
                    QuerySequence().with_user_metadata("vehicle.id", eq=ASKED_VEHICLE)
                ),
            ),
            (
                "QuerySequence, part of the name",
                1,
                lambda: client.query(QuerySequence().with_name_match(f"drive_{count - 1:04}")),
            ),
            (
                "QueryTopic, ontology tag",
                count,
                lambda: client.query(QueryTopic().with_ontology_tag("Temperature")),
            ),
            (
                "QueryOntologyCatalog, value above",
                hot,
                lambda: client.query(QueryOntologyCatalog(Temperature.Q.value.gt(350.0))),
            ),
            (
                "all three together",
                len([n for n in range(ASKED_VEHICLE, count, VEHICLES) if n % 10 == 0]),
                lambda: client.query(
                    QuerySequence().with_user_metadata("vehicle.id", eq=ASKED_VEHICLE),
                    QueryTopic().with_ontology_tag("Temperature"),
                    QueryOntologyCatalog(Temperature.Q.value.gt(350.0)),
                ),
            ),
        )
        round_trip_s = _typical_s(lambda: client.list_sequence_notify("drive_0000"))
        found = []
        for name, expected, ask in asked:
            answer = ask()
            arrived = len(answer) if answer is not None else 0
            if arrived != expected:
                raise SystemExit(f"{name}: {arrived} of {expected} sequences")
            seconds = _typical_s(ask)
            found.append((name, arrived, 1e3 * seconds, seconds / round_trip_s))
        return found


def _typical_s(call: Callable[[], Any]) -> float:
    return statistics.median(clocked(call) for _ in range(ASKED))


def _write_sequence(client: MosaicoClient, number: int) -> None:
    """Write a short drive; every tenth is hot."""
    times_ns = [START_NS + second * 1_000_000_000 for second in range(ROWS)]
    value = 360.0 if number % 10 == 0 else 300.0
    with client.sequence_create(
        f"drive_{number:04}", {"vehicle": {"id": number % VEHICLES}, "run": number}
    ) as sequence:
        rows = [{"timestamp_ns": time, "value": value} for time in times_ns]
        with sequence.topic_create("temperature", {}, Temperature) as topic:
            topic.write_batch(pa.RecordBatch.from_pylist(rows, schema=Temperature.schema))
        rows = [{"timestamp_ns": time, "data": float(number)} for time in times_ns]
        with sequence.topic_create("speed", {}, Floating64) as topic:
            topic.write_batch(pa.RecordBatch.from_pylist(rows, schema=Floating64.schema))
