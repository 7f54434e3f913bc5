"""The whole ingest: against the vendor's injector on a prefix, and against the limit.

All three send to the same null sink, one after the other, several times; the median counts. What
the sink adds up must agree with what was written, or the run fails.
"""

import shutil
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Case
from benchmarks.messages import START_NS
from benchmarks.ready_made import write_ready_made
from benchmarks.recordings import size_of, write_bag, write_db3, write_mcap
from benchmarks.scope import Scope
from benchmarks.sink import RunningSink, running_sink, times_sum
from benchmarks.subjects import limit, ours, vendor
from benchmarks.tables import MEBIBYTE, table
from benchmarks.timing import median_s, timed

QUICK_SHARE = 0.02
QUICK_VENDOR_SHARE = 0.1

COLUMNS = (
    "case", "messages", "recorded MiB", "messages/s", "recorded MiB/s", "x vendor", "of limit",
    "wire/recorded", "with lz4", "peak MiB", "vendor peak MiB",
)  # fmt: skip


def run(scope: Scope) -> str:
    """Measure all cases, or those chosen."""
    rows = []
    with running_sink() as sink:
        for case in CASES:
            if scope.wants(case.name):
                scope.say(f"ingest: {case.name}")
                rows.append(_measure(case, sink, scope))
    return table("Whole ingest", COLUMNS, rows)


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
    arrow_bytes, lz4_bytes = write_ready_made(whole, batches)

    runs: dict[str, list[Any]] = {"ours": [], "vendor": [], "limit": []}
    for number in range(scope.runs):
        runs["ours"].append(timed(ours, whole, sink.port, f"ours_{number}"))
        _verify(case, sink, counts)
        runs["vendor"].append(timed(vendor, prefix, sink.port, f"vendor_{number}"))
        _verify(case, sink, vendor_counts)
        if case.storage == "mcap":
            runs["limit"].append(timed(limit, whole, sink.port, f"limit_{number}", batches))
            _verify(case, sink, counts, named=False)
    ours_s, vendor_s = median_s(runs["ours"]), median_s(runs["vendor"])
    messages, recorded = sum(counts.values()), size_of(whole)
    for path in (whole, prefix, batches):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return (
        case.name,
        messages,
        recorded / MEBIBYTE,
        messages / ours_s,
        recorded / MEBIBYTE / ours_s,
        (messages / ours_s) / (sum(vendor_counts.values()) / vendor_s),
        median_s(runs["limit"]) / ours_s if runs["limit"] else None,
        arrow_bytes / recorded,
        lz4_bytes / recorded,
        max(run.peak_bytes for run in runs["ours"]) / MEBIBYTE,
        max(run.peak_bytes for run in runs["vendor"]) / MEBIBYTE,
    )


def _verify(case: Case, sink: RunningSink, counts: dict[str, int], *, named: bool = True) -> None:
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
