"""Bytes on the wire of the mixed drive, as the daemon's own settings have it compressed.

They are counted twice: by the kernel, without what TCP sends again, as the daemon's metric
`wire_bytes_total` has it; and by a relay between both. Both must agree.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import CASES, Case
from benchmarks.ingest import verify, write_case
from benchmarks.recordings import size_of
from benchmarks.relay import Relay
from benchmarks.scope import Scope
from benchmarks.sink import RunningSink, running_sink
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import Timing, timed

SECONDS, QUICK_SECONDS = 8.0, 0.5
APART_MAX = 0.01
"""How far both counts may be apart: one begins with the connection, the other behind it."""


@dataclass(frozen=True, slots=True)
class Uplink:
    """How the platform is reached.

    Attributes:
        bytes_per_month_max: That setting of `[uplink]`: 0 for none, else never reached.
        round_trip_s: How long the line is.
    """

    bytes_per_month_max: int = 0
    round_trip_s: float = 0.0


FREE = Uplink()
UPLINKS = {
    "free": FREE,
    "50 ms": Uplink(round_trip_s=0.05),
    "metered": Uplink(bytes_per_month_max=1 << 40),
}

COLUMNS = (
    "mixed drive", "compression", "recorded MiB", "wire MiB", "of recorded",
    "CPU s/GB", "x CPU of none", "x time of none", "peak MiB",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What one upload moved.

    Attributes:
        kernel_bytes: Sent, by the kernel's count.
        relay_bytes: Sent, as they passed by.
        run: What it took.
    """

    kernel_bytes: int
    relay_bytes: int
    run: Timing


def run(scope: Scope) -> list[Table]:
    """Measure a drive without compression and one with, over both kinds of uplink."""
    rows: list[tuple[object, ...]] = []
    drive = next(case for case in CASES if case.name == "mixed")
    seconds = QUICK_SECONDS if scope.quick else SECONDS * scope.scale
    with running_sink() as sink:
        for compression in ("none", "zstd"):
            case = Case(
                name="mixed", streams=drive.streams, seconds=seconds, vendor_seconds=seconds,
                compression=compression,
            )  # fmt: skip
            if not scope.wants(compression):
                continue
            path = write_case(case, scope.folder, f"drive_{compression}", seconds)
            scope.say(f"wire: chunks {compression}, none")
            none = moved(path, sink, case, "none", FREE)
            for name, uplink in UPLINKS.items():
                scope.say(f"wire: chunks {compression}, {name}")
                found = moved(path, sink, case, "auto", uplink)
                rows.append(_row(compression, name, path, found, none))
            rows.append(_row(compression, "free", path, none, none, setting="none"))
            path.unlink()
    return [Table("Bytes on the wire, mixed drive", COLUMNS, rows)]


def _row(
    chunks: str, uplink: str, path: Path, found: Moved, none: Moved, *, setting: str = "auto"
) -> tuple[object, ...]:
    recorded = size_of(path)
    return (
        f"chunks {chunks}, uplink {uplink}",
        setting,
        recorded / MEBIBYTE,
        found.kernel_bytes / MEBIBYTE,
        found.kernel_bytes / recorded,
        found.run.cpu_s / (recorded / 1e9),
        found.run.cpu_s / none.run.cpu_s,
        found.run.seconds / none.run.seconds,
        found.run.peak_bytes / MEBIBYTE,
    )


def moved(path: Path, sink: RunningSink, case: Case, compression: str, uplink: Uplink) -> Moved:
    """Send a recording as a worker does, and see that all of it arrived and both counts agree."""
    with Relay(sink.port, delay_s=uplink.round_trip_s / 2) as relay:
        done = timed(sent, path, relay.port, compression, uplink.bytes_per_month_max)
        relay_bytes = relay.sent_bytes
    verify(case, sink, case.counts(case.seconds))
    kernel_bytes: int = done.result
    if abs(kernel_bytes / relay_bytes - 1) > APART_MAX:
        raise SystemExit(f"wire: {kernel_bytes} by the kernel, {relay_bytes} by the relay")
    return Moved(kernel_bytes=kernel_bytes, relay_bytes=relay_bytes, run=done)


def sent(path: Path, port: int, compression: str, bytes_per_month_max: int) -> Callable[[], int]:
    """Ingest by a daemon's settings; gives the bytes that the kernel counted."""
    from bridge.bags import load_recording
    from bridge.client import Pacer, UplinkShare
    from bridge.compose import connect
    from bridge.config import load_settings
    from bridge.daemon.work.memory import keep_freed_memory, leave_pandas_out
    from bridge.ingest import Identity, IngestOptions, ingest

    keep_freed_memory()
    leave_pandas_out()
    settings = load_settings(
        None,
        overrides={
            "server.compression": compression,
            "uplink.bytes_per_month_max": bytes_per_month_max,
        },
    )
    options = IngestOptions(identity=Identity(instance="benchmark"), sequence_name="wire")

    def call() -> int:
        pacer = Pacer("127.0.0.1", port, share=UplinkShare(), report=lambda *_: None)
        with connect(settings, "127.0.0.1", port) as client, pacer:
            ingest(load_recording(path), client=client, options=options)
        return pacer.total.sent

    return call
