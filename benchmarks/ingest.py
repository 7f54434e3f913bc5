"""The whole ingest: against the vendor's injector on a prefix, and against the limit.

All three send to the same null sink, one after the other, several times; of ours and the vendor's
the median counts, of the limit the best. What the sink adds up must agree with what was written, or
the run fails. Times of the processor are those of the process that ingests; the sink's is apart.
"""

import shutil
import statistics
from pathlib import Path

from benchmarks.cases import CASES, Case
from benchmarks.limit import BATCH_BYTES, Limit, best_batch_bytes, measure
from benchmarks.messages import START_NS
from benchmarks.ready_made import write_ready_made
from benchmarks.recordings import size_of, write_bag, write_db3, write_mcap
from benchmarks.scope import Scope
from benchmarks.sink import RunningSink, running_sink, times_sum
from benchmarks.subjects import ours, vendor
from benchmarks.tables import MEBIBYTE, Table
from benchmarks.timing import Timing, median_cpu_s, median_s, timed

QUICK_SHARE = 0.02
QUICK_VENDOR_SHARE = 0.1

COLUMNS = (
    "case", "messages", "recorded MiB", "messages/s", "recorded MiB/s", "x vendor",
    "x vendor, CPU", "of limit", "limit is", "of limit, CPU", "CPU s/GB", "sink CPU s/GB",
    "peak MiB", "vendor peak MiB",
)  # fmt: skip


def run(scope: Scope) -> list[Table]:
    """Measure all cases, or those chosen."""
    rows = []
    with running_sink() as sink:
        for case in CASES:
            if scope.wants(case.name):
                scope.say(f"ingest: {case.name}")
                rows.append(_measure(case, sink, scope))
    return [Table("Whole ingest", COLUMNS, rows)]


def write_case(case: Case, folder: Path, name: str, seconds: float) -> Path:
    """Write a recording of a case.

    Returns:
        The file, or the folder with it.
    """
    path = folder / (name if case.storage == "db3" else f"{name}.{case.storage}")
    if case.storage == "db3":
        write_db3(path, case.streams, seconds)
    elif case.storage == "bag":
        write_bag(path, case.streams, seconds, compression=case.compression)
    else:
        write_mcap(path, case.streams, seconds, compression=case.compression)
    return path


def _measure(case: Case, sink: RunningSink, scope: Scope) -> tuple[object, ...]:
    seconds = case.seconds * scope.scale * (QUICK_SHARE if scope.quick else 1)
    vendor_seconds = min(seconds, case.vendor_seconds * (QUICK_VENDOR_SHARE if scope.quick else 1))
    counts, vendor_counts = case.counts(seconds), case.counts(vendor_seconds)
    whole = write_case(case, scope.folder, case.name, seconds)
    prefix = write_case(case, scope.folder, f"{case.name}_prefix", vendor_seconds)
    batches = scope.folder / "ready_made"
    write_ready_made(whole, batches)
    batch_bytes = best_batch_bytes(sink, batches, BATCH_BYTES[:1] if scope.quick else BATCH_BYTES)

    mine: list[Timing] = []
    theirs: list[Timing] = []
    limits: list[Limit] = []
    sink_cpu_s = []
    for number in range(scope.runs):
        before_s = sink.cpu_s()
        mine.append(timed(ours, whole, sink.port, f"ours_{number}"))
        sink_cpu_s.append(sink.cpu_s() - before_s)
        verify(case, sink, counts)
        theirs.append(timed(vendor, prefix, sink.port, f"vendor_{number}"))
        verify(case, sink, vendor_counts)
        limits.append(measure(whole, sink, f"limit_{number}", batches, batch_bytes))
        verify(case, sink, counts, named=False)
    limit = min(limits, key=lambda each: each.seconds)
    ours_s, vendor_s = median_s(mine), median_s(theirs)
    messages, recorded = sum(counts.values()), size_of(whole)
    for path in (whole, prefix, batches):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    ours_cpu_s, vendor_cpu_s = median_cpu_s(mine), median_cpu_s(theirs)
    vendor_share = sum(vendor_counts.values()) / messages
    return (
        case.name,
        messages,
        recorded / MEBIBYTE,
        messages / ours_s,
        recorded / MEBIBYTE / ours_s,
        vendor_s / vendor_share / ours_s,
        vendor_cpu_s / vendor_share / ours_cpu_s,
        limit.seconds / ours_s,
        limit.half,
        statistics.median(each.cpu_s for each in limits) / ours_cpu_s,
        ours_cpu_s / (recorded / 1e9),
        statistics.median(sink_cpu_s) / (recorded / 1e9),
        max(run.peak_bytes for run in mine) / MEBIBYTE,
        max(run.peak_bytes for run in theirs) / MEBIBYTE,
    )


def verify(case: Case, sink: RunningSink, counts: dict[str, int], *, named: bool = True) -> None:
    """Compare what the sink added up, topic by topic, with what was written."""
    arrived = {
        locator.partition("/")[2]: (rows, times)
        for locator, (rows, times, _, _) in sink.sums().items()
    }
    written = {
        each.topic.removeprefix("/"): (
            counts[each.topic],
            times_sum(START_NS, each.step_ns, counts[each.topic]),
        )
        for each in case.streams
    }
    same = arrived == written if named else sorted(arrived.values()) == sorted(written.values())
    if not same:
        raise SystemExit(f"{case.name}: written {written}, arrived {arrived}")
