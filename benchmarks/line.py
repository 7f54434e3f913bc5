"""What many topics cost: over lines of different round trips, and at full rate.

All go to the null sink, which adds up what arrives; over a line, through a relay that holds every
byte back for half a round trip. Only ratios count: to the recording of ten topics, and for a drive
of big messages to what the window of one connection carries.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks import messages as of
from benchmarks.cases import DRIVE, Stream, stream
from benchmarks.messages import START_NS
from benchmarks.recordings import size_of, write_mcap
from benchmarks.relay import Relay
from benchmarks.scope import Scope
from benchmarks.sink import RunningSink, running_sink, times_sum
from benchmarks.subjects import ours, vendor
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import Timing, median_cpu_s, median_s, timed

RATE_HZ = 200
LINE_TOPICS, QUICK_LINE_TOPICS = (10, 100, 300, 500), (2, 10)
LINE_MESSAGES_EACH = 30
VENDOR_TOPICS = 300
RUNS_MAX = 2
"""Each waits for the line most of the time, so that they differ little."""
ROUND_TRIPS_S, QUICK_ROUND_TRIPS_S = (0.0, 0.05, 0.2), (0.0, 0.01)
WINDOW_BYTES = 1 << 20
"""What the platform takes of a connection before it has answered."""
WINDOW_DRIVE_S, QUICK_WINDOW_DRIVE_S = 3.0, 0.1
RATE_TOPICS, QUICK_RATE_TOPICS = (10, 100, 500, 1_000), (10, 20)
RATE_MESSAGES, QUICK_RATE_MESSAGES = 1_000_000, 5_000


def line(scope: Scope) -> list[Table]:
    """Measure small recordings of more and more topics over longer and longer lines.

    The vendor's injector is timed once, as the case `vendor`, with 300 topics over the longest
    line: two and a half minutes.
    """
    round_trips_s = QUICK_ROUND_TRIPS_S if scope.quick else ROUND_TRIPS_S
    rows: list[tuple[object, ...]] = []
    first: list[float] = []
    vendor_topics = QUICK_LINE_TOPICS[-1] if scope.quick else VENDOR_TOPICS
    with running_sink() as sink:
        for topics in QUICK_LINE_TOPICS if scope.quick else LINE_TOPICS:
            if not scope.wants(str(topics)):
                continue
            streams, path = _written(scope, topics, LINE_MESSAGES_EACH * topics)
            taken_s = []
            for round_trip_s in round_trips_s:
                scope.say(f"line: {topics} topics, {1000 * round_trip_s:.0f} ms")
                runs = min(scope.runs, RUNS_MAX)
                taken_s.append(median_s(_sent(sink, runs, path, streams, round_trip_s)))
            vendor_s = None
            if topics == vendor_topics and scope.wants("vendor"):
                scope.say(f"line: {topics} topics, vendor")
                vendor_s = _vendor_s(sink, path, streams, round_trips_s[-1])
            first = first or taken_s
            ratios = [one / other for one, other in zip(taken_s, first, strict=True)]
            figures = (figure for pair in zip(taken_s, ratios, strict=True) for figure in pair)
            times_vendor = vendor_s / taken_s[-1] if vendor_s else None
            rows.append((str(topics), size_of(path) / MEBIBYTE, *figures, times_vendor))
            path.unlink()
        windows = _through_windows(sink, scope) if scope.wants("window") else []
    names = [f"{1000 * each:.0f} ms" for each in round_trips_s]
    titles = [title for name in names for title in (f"s at {name}", f"x first at {name}")]
    table = Table(
        "Topics over a line, IMU",
        ("topics", "recorded MiB", *titles, f"x vendor at {names[-1]}"),
        rows,
    )
    return [*([table] if rows else []), *windows]


def _through_windows(sink: RunningSink, scope: Scope) -> list[Table]:
    """Send the mixed drive where each connection has one window, and compare with what fits one."""
    seconds = QUICK_WINDOW_DRIVE_S if scope.quick else WINDOW_DRIVE_S
    path = scope.folder / "drive.mcap"
    write_mcap(path, DRIVE, seconds)
    rows: list[tuple[object, ...]] = []
    for round_trip_s in (QUICK_ROUND_TRIPS_S if scope.quick else ROUND_TRIPS_S)[1:]:
        scope.say(f"line: window, {1000 * round_trip_s:.0f} ms")
        runs = _sent(sink, scope.runs, path, DRIVE, round_trip_s, window_bytes=WINDOW_BYTES)
        sent_s = median_s(runs)
        one_s = size_of(path) / WINDOW_BYTES * round_trip_s
        rate = size_of(path) / MEBIBYTE / sent_s
        rows.append((f"{1000 * round_trip_s:.0f} ms", sent_s, rate, one_s / sent_s))
    path.unlink()
    columns = ("round trip", "s", "recorded MiB/s", "x what one window carries")
    return [Table("Mixed drive, a window of a MiB for each connection", columns, rows)]


def topics(scope: Scope) -> list[Table]:
    """Measure as many messages in more and more topics, at full rate.

    All numbers of topics take turns, and ratios are those of a turn: a machine that becomes slower
    meanwhile is slower for all.
    """
    messages = QUICK_RATE_MESSAGES if scope.quick else int(RATE_MESSAGES * scope.scale)
    numbers = QUICK_RATE_TOPICS if scope.quick else RATE_TOPICS
    cases = {
        number: _written(scope, number, messages) for number in numbers if scope.wants(str(number))
    }
    runs: dict[int, list[Timing]] = {number: [] for number in cases}
    with running_sink() as sink:
        for turn in range(scope.runs):
            for number, (streams, path) in cases.items():
                scope.say(f"topics: {number}, turn {turn + 1} of {scope.runs}")
                runs[number] += _sent(sink, 1, path, streams, 0.0)
    first = runs[min(runs)] if runs else []
    rows: list[tuple[object, ...]] = []
    for number, (_, path) in cases.items():
        each = list(zip(runs[number], first, strict=True))
        peak = max(run.peak_bytes for run in runs[number]) / MEBIBYTE
        seconds = median_s(runs[number])
        rows.append(
            (
                str(number),
                size_of(path) / MEBIBYTE,
                messages / seconds,
                seconds,
                statistics.median(run.seconds / one.seconds for run, one in each),
                median_cpu_s(runs[number]),
                statistics.median(run.cpu_s / one.cpu_s for run, one in each),
                peak,
                peak * MEBIBYTE / max(run.peak_bytes for run in first),
            )
        )
        path.unlink()
    table = Table(
        "As many IMU messages in more topics",
        (
            "topics",
            "recorded MiB",
            "messages/s",
            "s",
            "x first",
            "CPU s",
            "x first, CPU",
            "peak MiB",
            "x first, peak",
        ),
        rows,
    )
    return [table]


def _written(scope: Scope, topics: int, messages: int) -> tuple[list[Stream], Path]:
    streams = [
        stream(f"/imu_{number}", "sensor_msgs/msg/Imu", of.imu, RATE_HZ) for number in range(topics)
    ]
    path = scope.folder / f"of_{topics}_topics.mcap"
    write_mcap(path, streams, messages / topics / RATE_HZ)
    return streams, path


def _sent(
    sink: RunningSink,
    turns: int,
    path: Path,
    streams: Sequence[Stream],
    round_trip_s: float,
    *,
    window_bytes: int | None = None,
) -> list[Timing]:
    runs = []
    for number in range(turns):
        with Relay(sink.port, delay_s=round_trip_s / 2, window_bytes=window_bytes) as relay:
            port = relay.port if round_trip_s else sink.port
            runs.append(timed(ours, path, port, f"run_{number}"))
        _verify(sink, streams, path)
    return runs


def _vendor_s(
    sink: RunningSink, path: Path, streams: Sequence[Stream], round_trip_s: float
) -> float:
    with Relay(sink.port, delay_s=round_trip_s / 2) as relay:
        run = timed(vendor, path, relay.port, "vendor")
    _verify(sink, streams, path)
    return run.seconds


def _verify(sink: RunningSink, streams: Sequence[Stream], path: Path) -> None:
    """Compare rows and record times of every topic by its name with what was written."""
    from mcap.reader import make_reader

    with path.open("rb") as stream_:
        summary = make_reader(stream_).get_summary()
    assert summary is not None
    assert summary.statistics is not None
    counts = summary.statistics.channel_message_counts
    names = {channel.topic: counts[number] for number, channel in summary.channels.items()}
    written = {
        each.topic: (names[each.topic], times_sum(START_NS, each.step_ns, names[each.topic]))
        for each in streams
    }
    arrived = {
        f"/{locator.partition('/')[2]}": (rows, times)
        for locator, (rows, times, _, _) in sink.sums().items()
    }
    if arrived != written:
        raise SystemExit(f"line: {len(arrived)} of {len(written)} topics arrived, or other rows")
