"""What the running daemon costs: from close to finalised, and at rest over old recordings."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import messages as of
from benchmarks.cases import stream
from benchmarks.recordings import write_mcap
from benchmarks.scope import Scope
from benchmarks.served import served
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import pss_bytes
from bridge.client import MosaicoClient

RECORDINGS, QUICK_RECORDINGS = 5, 2
WARM_UP_S = 3.0
RATE_HZ, SECONDS_OF_1_MB = 200.0, 14.5
OLD, QUICK_OLD = 10_000, 50
IDLE_S, QUICK_IDLE_S = 60.0, 2.0
SETTLED_AFTER_S, QUICK_SETTLED_AFTER_S = 25.0, 4.0
# What a program cannot go below that has to look whether files changed: nothing but that.
BARE_LOOP = """
import os, sys, time
while True:
    for folder, _, names in os.walk(sys.argv[1]):
        for name in names:
            os.stat(os.path.join(folder, name))
    time.sleep(float(sys.argv[2]))
"""
LOOP_INTERVAL_S, QUICK_LOOP_INTERVAL_S = 10.0, 0.2
PATIENCE_S = 60.0
POLL_S = 0.005


@contextmanager
def bare_loop(folder: Path, *, interval_s: float) -> Iterator[int]:
    """Run a loop that only sleeps and looks at every file of `folder`; yields its process id."""
    command = [sys.executable, "-c", BARE_LOOP, str(folder), str(interval_s)]
    process = subprocess.Popen(command)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def running_daemon(folder: Path, port: int) -> Iterator[int]:
    """Run the daemon with its default settings over `folder`/watched; yields its process id."""
    watched = folder / "watched"
    watched.mkdir(exist_ok=True)
    command = [
        str(Path(sys.executable).with_name("mosaico-bridge")), "run", "--folder", str(watched),
        "--state", str(folder / "state"), "--host", "127.0.0.1", "--port", str(port),
        "--http-port", "0",
    ]  # fmt: skip
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def latency(scope: Scope) -> Table:
    """Time from the close of a recording of 1 MB to its finalised sequence."""
    scope.say("memory: latency")
    folder = scope.folder / "latency"
    folder.mkdir()
    each = stream("/imu", "sensor_msgs/msg/Imu", of.imu, RATE_HZ)
    found_s = []
    with (
        served(scope.folder / "latency_server") as port,
        running_daemon(folder, port) as _,
        MosaicoClient.connect("127.0.0.1", port) as client,
    ):
        draft = folder / "draft.mcap"
        # As on a vehicle, where the first recording ends long after the start.
        time.sleep(WARM_UP_S)
        # Names that end in a number would be taken for splits of one recording.
        for number in range(1 + (QUICK_RECORDINGS if scope.quick else RECORDINGS)):
            # Of different lengths, because the same content again would be recognised.
            seconds = SECONDS_OF_1_MB + number / RATE_HZ
            write_mcap(draft, [each], seconds)
            content = draft.read_bytes()
            recorded = len(content)
            with (folder / "watched" / f"drive_{number}_of_today.mcap").open("wb") as file:
                file.write(content)
            closed = time.perf_counter()
            _await_rows(client, f"drive_{number}_of_today", each.count(seconds))
            found_s.append(time.perf_counter() - closed)
            time.sleep(1.0)  # so that a spare worker is warm again, as between recordings
    size = f"{recorded / MEBIBYTE:.2f} MiB"
    return Table(
        "From close to finalised sequence, daemon at rest, embedded server",
        ("recording", "size", "times", "median s", "worst s"),
        [
            (which, size, len(taken_s), statistics.median(taken_s), max(taken_s))
            for which, taken_s in (("the first", found_s[:1]), ("later ones", found_s[1:]))
        ],
    )


def _await_rows(client: MosaicoClient, prefix: str, rows: int) -> None:
    """Wait until a sequence is finalised, and see that all of it is there."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        for name in client.list_sequences():
            if not name.startswith(prefix):
                continue
            client.clear_sequence_handlers_cache()
            handler = client.sequence_handler(name)
            if handler is not None and handler.is_locked:
                topic = client.topic_handler(name, "imu")
                if topic is None or topic.row_count != rows:
                    raise SystemExit(f"{name}: finalised without its {rows} rows")
                return
        time.sleep(POLL_S)
    raise SystemExit(f"{prefix}: not finalised within {PATIENCE_S:.0f} s")


def idle(scope: Scope) -> list[Table]:
    """Measure the daemon at rest over recordings that it has sent long ago."""
    count = QUICK_OLD if scope.quick else OLD
    scope.say(f"idle: over {count} recordings")
    folder = scope.folder / "idle"
    watched = folder / "watched"
    watched.mkdir(parents=True)
    each = stream("/imu", "sensor_msgs/msg/Imu", of.imu, RATE_HZ)
    original = folder / "original.mcap"
    write_mcap(original, [each], 0.1)
    for number in range(count):
        shutil.copyfile(original, watched / f"drive_{number}_of_old.mcap")
    _enter_as_sent(folder)
    seconds = QUICK_IDLE_S if scope.quick else IDLE_S
    interval_s = QUICK_LOOP_INTERVAL_S if scope.quick else LOOP_INTERVAL_S
    with (
        served(scope.folder / "idle_server") as port,
        running_daemon(folder, port) as daemon,
        bare_loop(watched, interval_s=interval_s) as loop,
    ):
        time.sleep(QUICK_SETTLED_AFTER_S if scope.quick else SETTLED_AFTER_S)
        before_s, started = {pid: _cpu_s(pid) for pid in (daemon, loop)}, time.monotonic()
        time.sleep(seconds)
        passed_s = time.monotonic() - started
        # What the loop used less than can be told counts as one tick of the kernel's clock.
        used_s = {pid: _cpu_s(pid) - before_s[pid] for pid in (daemon, loop)}
        least_s = max(used_s[loop], 1 / os.sysconf("SC_CLK_TCK"))
        rows = [
            (name, used_s[pid] / passed_s, used_s[pid] / least_s, *_memory(pid))
            for name, pid in (("daemon and spare worker", daemon), ("bare loop", loop))
        ]
    _verify_at_rest(folder, count)
    columns = (
        "process", "share of a core", "x bare loop", "processes", "PSS MiB", "anonymous MiB",
    )  # fmt: skip
    return [Table(f"At rest over {count:,} old recordings, {seconds:.0f} s", columns, rows)]


def _memory(pid: int) -> tuple[int, float, float]:
    """Count a process with its children, and sum their PSS and the anonymous part of it, in MiB.

    Pages of files, libraries' above all, are shared with whoever else has them loaded, so PSS
    depends on what else runs; and the kernel takes them back whenever it wants. Anonymous ones are
    ours alone.
    """
    family = _family(pid)
    whole, anonymous = (
        sum(pss_bytes(each, part) for each in family) / MEBIBYTE for part in ("Pss", "Pss_Anon")
    )
    return len(family), whole, anonymous


def _enter_as_sent(folder: Path) -> None:
    """Write the journal that a daemon has after sending everything in the folder."""
    from bridge.daemon.journal.journal import Journal
    from bridge.daemon.journal.states import State
    from bridge.daemon.watch.scan import Scanner

    found = Scanner((folder / "watched").resolve(), recursive=True).scan()
    (folder / "state").mkdir()
    with Journal.own(folder / "state") as journal, journal.transaction():
        for number, (path, each) in enumerate(sorted(found.items())):
            entry = journal.discover(
                path,
                name=each.recording.name,
                size_bytes=each.size_bytes,
                modified_ns=each.modified_ns,
            )
            journal.move(entry.id, State.READY, "complete", fingerprint=f"{number:064x}")
            journal.move(entry.id, State.SENDING, "a worker took it")
            journal.move(entry.id, State.FINALISED, "sent", sequence=path.stem)
            journal.sight(path, entry_id=entry.id, signature=each.signature)


def _verify_at_rest(folder: Path, count: int) -> None:
    """See that the daemon recognised every recording as sent."""
    from bridge.daemon.journal.journal import Journal
    from bridge.daemon.journal.states import State

    with Journal.read(folder / "state") as journal:
        entries = journal.recordings()
    if len(entries) != count or {entry.state for entry in entries} != {State.FINALISED}:
        raise SystemExit("idle: old recordings were taken for new ones")


def _family(pid: int) -> list[int]:
    """Give a process and its children."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [pid, *(child for each in text.split() for child in _family(int(each)))]


def _cpu_s(pid: int) -> float:
    """Sum the processor time of a process and its children."""
    ticks = 0
    for each in _family(pid):
        fields = Path(f"/proc/{each}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
