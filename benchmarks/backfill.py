"""An archive of small recordings: backfill against `ingest` in a loop, and what an engine costs.

All send to the embedded server, by the same options, in processes of their own. What arrived is
counted by reading it back. Only ratios count; on a busy machine those of processor time, as workers
give way to others.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped] # ships no types

from benchmarks import messages as of
from benchmarks.cases import stream
from benchmarks.recordings import size_of, write_mcap
from benchmarks.scope import Scope
from benchmarks.served import served
from benchmarks.tables import MEBIBYTE, Table
from bridge.client import MosaicoClient

RECORDINGS, QUICK_RECORDINGS = (50, 100, 200), (2, 4)
RATE_HZ = 200
SECONDS = 5.0
OLD_S = 1_700_000_000
DASK_WORKERS = 2
AGAIN = "2 jobs, the same again"

COLUMNS = (
    "recordings", "MiB", "by", "s", "recordings/min", "MiB/s", "x ingest in a loop",
    "s each x first", "CPU s each", "x ingest in a loop", "x first",
)  # fmt: skip

Send = Callable[[Path, int, Path], None]


class Taken(NamedTuple):
    """What a run took.

    Attributes:
        s: Time.
        cpu_s: Processor time of all processes.
    """

    s: float
    cpu_s: float


def run(scope: Scope) -> list[Table]:
    """Measure all ways over archives of more and more recordings."""
    rows: list[tuple[object, ...]] = []
    first: dict[str, Taken] = {}
    for count in QUICK_RECORDINGS if scope.quick else RECORDINGS:
        if not scope.wants(str(count)):
            continue
        archive = scope.folder / "archive"
        _write(archive, count)
        size = sum(size_of(path) for path in archive.iterdir()) / MEBIBYTE
        loop: Taken | None = None
        with _dask() as address:
            for name, send in _ways(address).items():
                scope.say(f"backfill: {count} recordings, {name}")
                runs = 2 if name == AGAIN else 1
                taken = [_timed(scope, send, archive, count, runs=runs) for _ in range(scope.runs)]
                best = Taken(*(min(figures) for figures in zip(*taken, strict=True)))
                loop = loop or best
                each = Taken(*(figure / count for figure in best))
                before = first.setdefault(name, each)
                rows.append(
                    (str(count), size, name, best.s, 60 / each.s, size / best.s,
                     loop.s / best.s, each.s / before.s,
                     each.cpu_s, loop.cpu_s / best.cpu_s, each.cpu_s / before.cpu_s)
                )  # fmt: skip
        shutil.rmtree(archive)
    return [Table("Backfill of small recordings", COLUMNS, rows)]


def _ways(address: str | None) -> dict[str, Send]:
    def command(*words: str) -> Send:
        def send(archive: Path, port: int, state: Path) -> None:
            target = ("--host", "127.0.0.1", "--port", str(port), "--state", str(state))
            subprocess.run(
                [sys.executable, "-m", "bridge", words[0], str(archive), *target, *words[1:]],
                check=True,
                capture_output=True,
                env={**os.environ, "MOSAICO_BRIDGE_BACKFILL__UPLOADS_MAX": str(DASK_WORKERS)},
            )

        return send

    ways = {
        "ingest in a loop": command("ingest"),
        "1 job": command("backfill", "--jobs", "1"),
        "2 jobs": command("backfill", "--jobs", "2"),
        AGAIN: command("backfill", "--jobs", "2"),
    }
    if address is not None:
        ways[f"Dask, {DASK_WORKERS} workers"] = command("backfill", "--dask", address)
    return ways


def _write(archive: Path, count: int) -> None:
    archive.mkdir()
    for number in range(count):
        path = archive / f"drive{number:04}.mcap"
        # Each of another length, so that none has the content of another.
        write_mcap(
            path,
            [stream("/imu", "sensor_msgs/msg/Imu", of.imu, RATE_HZ)],
            SECONDS + number / RATE_HZ,
        )
        os.utime(path, (OLD_S, OLD_S))


def _timed(scope: Scope, send: Send, archive: Path, count: int, *, runs: int) -> Taken:
    """Time the last of so many runs onto a platform that was empty."""
    with served(scope.folder / "platform") as port:
        state = scope.folder / "state"
        for _ in range(runs):
            started_s, started_cpu_s = time.perf_counter(), _cpu_s()
            send(archive, port, state)
            taken = Taken(time.perf_counter() - started_s, _cpu_s() - started_cpu_s)
        _verify(port, count)
    shutil.rmtree(scope.folder / "platform")
    shutil.rmtree(state, ignore_errors=True)
    return taken


def _cpu_s() -> float:
    """Give the processor time of all that was started here, the platform and Dask included."""
    gone = resource.getrusage(resource.RUSAGE_CHILDREN)
    total_s = gone.ru_utime + gone.ru_stime
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total_s += sum(process.cpu_times()[:4])
    return total_s


def _verify(port: int, count: int) -> None:
    """Read back what arrived and compare it with what was written."""
    with MosaicoClient.connect("127.0.0.1", port) as client:
        rows = []
        for name in client.list_sequences():
            handler = client.sequence_handler(name)
            if handler is not None:
                rows += [len(topic.table()) for topic in handler.topic_handlers().values()]
    written = [int(RATE_HZ * SECONDS) + number for number in range(count)]
    if sorted(rows) != written:
        raise SystemExit(f"{count} recordings: written {written}, arrived {sorted(rows)}")


@contextmanager
def _dask() -> Iterator[str | None]:
    """Run a cluster of workers on this machine; yields its address, None without Dask."""
    try:
        from distributed import LocalCluster
    except ImportError:
        yield None
        return
    with LocalCluster(  # type: ignore[no-untyped-call] # it has no types
        n_workers=DASK_WORKERS, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address
