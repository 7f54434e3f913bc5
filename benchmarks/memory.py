"""Peak memory against size and over a long line, two at once, and from close to finalised.

The peak is that of the process that ingests, as a worker does, at the null sink.
"""

import statistics
from collections.abc import Sequence

from benchmarks import messages as of
from benchmarks.cases import DRIVE, DRIVE_SECONDS, Stream, stream
from benchmarks.daemon import latency
from benchmarks.line import WINDOW_BYTES
from benchmarks.messages import START_NS
from benchmarks.recordings import size_of, write_mcap
from benchmarks.relay import Relay
from benchmarks.scope import Scope
from benchmarks.sink import RunningSink, running_sink, times_sum
from benchmarks.subjects import ours
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import Started, median_s, timed, together

SIZE_STEP = 10
QUICK_SHARE = 0.01
FAR_S = 0.05
PAIR_MESSAGES, QUICK_PAIR_MESSAGES = 1_000_000, 5_000

Figures = tuple[str, float, int, float, float]
"""A recording's name, size in MiB, messages, seconds and peak in MiB."""


def run(scope: Scope) -> list[Table]:
    """Measure whatever of these is wanted."""
    parts = []
    with running_sink() as sink:
        if scope.wants("size"):
            parts.append(_by_size(sink, scope))
        if scope.wants("far"):
            parts.append(_far(sink, scope))
        if scope.wants("pair"):
            parts.append(_pair(sink, scope))
    if scope.wants("latency"):
        parts.append(latency(scope))
    return parts


def _by_size(sink: RunningSink, scope: Scope) -> Table:
    scale = scope.scale * (QUICK_SHARE if scope.quick else 1)
    rows = []
    for seconds in (DRIVE_SECONDS / SIZE_STEP * scale, DRIVE_SECONDS * scale):
        scope.say(f"memory: a drive of {seconds:.1f} s")
        rows.append(_ingested(sink, scope, DRIVE, seconds, "zstd"))
    return _compared("Peak PSS by size: mixed drive, zstd", rows)


def _far(sink: RunningSink, scope: Scope) -> Table:
    """Send a drive to a platform far away, by several threads that compress, as is the default."""
    seconds = DRIVE_SECONDS * scope.scale * (QUICK_SHARE if scope.quick else 1)
    path = scope.folder / "memory.mcap"
    write_mcap(path, DRIVE, seconds, compression="zstd")
    scope.say(f"memory: a drive of {seconds:.1f} s, far away")
    with Relay(sink.port, delay_s=FAR_S / 2, window_bytes=WINDOW_BYTES) as relay:
        run = timed(ours, path, relay.port, "far", "auto-zstd")
    _verify(sink, DRIVE, seconds)
    row = size_of(path) / MEBIBYTE, run.seconds, run.peak_bytes / MEBIBYTE
    path.unlink()
    name = f"Peak PSS at {1000 * FAR_S:.0f} ms: mixed drive, zstd, auto"
    return Table(name, ("recorded MiB", "s", "peak MiB"), [row])


def _compared(title: str, rows: list[Figures]) -> Table:
    """Make the table of two recordings and how the second compares with the first."""
    first, last = rows
    ratios = tuple(b / a for a, b in zip(first[1:], last[1:], strict=True))
    return Table(
        title,
        ("recording", "recorded MiB", "messages", "s", "peak MiB"),
        [*rows, ("ratio", *ratios)],
    )


def _ingested(
    sink: RunningSink,
    scope: Scope,
    streams: Sequence[Stream],
    seconds: float,
    compression: str,
) -> Figures:
    path = scope.folder / "memory.mcap"
    write_mcap(path, streams, seconds, compression=compression)
    runs = []
    for number in range(min(scope.runs, 2)):
        runs.append(timed(ours, path, sink.port, f"run_{number}"))
        _verify(sink, streams, seconds)
    recorded = size_of(path) / MEBIBYTE
    path.unlink()
    messages = sum(each.count(seconds) for each in streams)
    peak = max(run.peak_bytes for run in runs) / MEBIBYTE
    return f"{seconds:.1f} s", recorded, messages, median_s(runs), peak


def _verify(sink: RunningSink, streams: Sequence[Stream], seconds: float, copies: int = 1) -> None:
    """Compare rows and record times of all topics with what was written."""
    arrived = sorted((rows, times) for rows, times, _, _ in sink.sums().values())
    counts = [(each.count(seconds), each.step_ns) for each in streams]
    written = [(count, times_sum(START_NS, step_ns, count)) for count, step_ns in counts]
    if arrived != sorted(written * copies):
        raise SystemExit(f"memory: {len(arrived)} topics arrived other than written")


def _pair(sink: RunningSink, scope: Scope) -> Table:
    """Time two recordings at once against the same two one after the other."""
    kinds = {"imu": ("sensor_msgs/msg/Imu", of.imu, 1.0), "tf": (
        "tf2_msgs/msg/TFMessage", of.transforms, 0.2)}  # fmt: skip
    rows = []
    for name, (msgtype, make, share) in kinds.items():
        scope.say(f"memory: two of {name}")
        messages = QUICK_PAIR_MESSAGES if scope.quick else PAIR_MESSAGES * scope.scale
        streams, seconds = [stream(f"/{name}", msgtype, make, 200)], messages * share / 200
        path = scope.folder / f"{name}.mcap"
        write_mcap(path, streams, seconds)
        after_s, at_once_s = [], []
        for number in range(scope.runs):
            names = (f"first_{number}", f"second_{number}")
            after_s.append(sum(timed(ours, path, sink.port, each).seconds for each in names))
            _verify(sink, streams, seconds, copies=2)
            pair = [Started(ours, path, sink.port, each) for each in names]
            at_once_s.append(together(pair)[0])
            _verify(sink, streams, seconds, copies=2)
        path.unlink()
        one, other = statistics.median(after_s), statistics.median(at_once_s)
        rows.append((name, one, other, other / one))
    return Table(
        "Two recordings at once, null sink on the same machine",
        ("recording", "one after the other s", "at once s", "ratio"),
        rows,
    )
