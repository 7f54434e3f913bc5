"""`make bench`: verify, then time, then print ratios.

Each case is one recording. Our ingest, the vendor's injector (on a prefix of the file, rates are
compared) and the limit run against the same sink, one after the other, several times; the median
counts. What the sink adds up must agree with what was written, or the run fails.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.cases import CASES, START_NS, Case, write_case
from benchmarks.ready_made import write_ready_made
from benchmarks.sink import RunningSink, running_sink, times_sum
from benchmarks.subjects import Timing, limit, ours, timed, vendor

QUICK_SHARE = 0.02
QUICK_VENDOR_SHARE = 0.1
MEBIBYTE = 1 << 20


def main() -> None:
    arguments = _arguments()
    wanted = set(arguments.cases.split(",")) if arguments.cases else None
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.folder) as folder,
        running_sink() as sink,
    ):
        for case in CASES:
            if wanted is None or case.name in wanted:
                print(f"{case.name} ...", file=sys.stderr, flush=True)
                rows.append(_measure(case, Path(folder), sink, arguments))
    _print(rows)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--cases", help="names, separated by commas; all by default")
    parser.add_argument("--runs", type=int, default=3, help="repetitions, the median counts")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the messages")
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--folder", help="where recordings are written meanwhile")
    parser.add_argument("--json", help="write the figures to this file too")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.scale, arguments.runs = QUICK_SHARE, 1
    return arguments


def _measure(
    case: Case, folder: Path, sink: RunningSink, arguments: argparse.Namespace
) -> dict[str, Any]:
    count = max(1, round(case.messages * arguments.scale))
    vendor_share = QUICK_VENDOR_SHARE if arguments.quick else 1.0
    vendor_count = min(count, max(1, round(case.vendor_messages * vendor_share)))
    whole, prefix = folder / f"{case.name}.mcap", folder / f"{case.name}_prefix.mcap"
    batches = folder / f"{case.name}.arrow"
    write_case(case, whole, messages=count)
    write_case(case, prefix, messages=vendor_count)
    arrow_bytes, lz4_bytes = write_ready_made(whole, batches)

    our_runs, vendor_runs, limit_runs = [], [], []
    for number in range(arguments.runs):
        our_runs.append(timed(ours, whole, sink.port, f"ours_{number}"))
        _verify(case, sink, count)
        vendor_runs.append(timed(vendor, prefix, sink.port, f"vendor_{number}"))
        _verify(case, sink, vendor_count)
        limit_runs.append(timed(limit, whole, sink.port, f"limit_{number}", batches))
        _verify(case, sink, count)
    our_s, vendor_s, limit_s = _median(our_runs), _median(vendor_runs), _median(limit_runs)
    recorded = whole.stat().st_size
    for path in (whole, prefix, batches):
        path.unlink()
    return {
        "case": case.name,
        "messages": count,
        "recorded_mib": recorded / MEBIBYTE,
        "messages_per_s": count / our_s,
        "arrow_mib_per_s": arrow_bytes / MEBIBYTE / our_s,
        "vendor_ratio": (count / our_s) / (vendor_count / vendor_s),
        "limit_ratio": limit_s / our_s,
        "wire_per_recorded_byte": arrow_bytes / recorded,
        "wire_per_recorded_byte_lz4": lz4_bytes / recorded,
        "peak_mib": max(run.peak_bytes for run in our_runs) / MEBIBYTE,
        "vendor_peak_mib": max(run.peak_bytes for run in vendor_runs) / MEBIBYTE,
    }


def _verify(case: Case, sink: RunningSink, count: int) -> None:
    """Compare what the sink added up with what was written."""
    ((_, (rows, times, _, _)),) = sink.sums().items()
    expected = times_sum(START_NS, round(1e9 / case.rate_hz), count)
    if (rows, times) != (count, expected):
        raise SystemExit(f"{case.name}: {rows} of {count} rows arrived, times {times} {expected}")


def _median(runs: list[Timing]) -> float:
    return statistics.median(run.seconds for run in runs)


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}, pyarrow {pa.__version__}")
    print(
        "| case | messages | recorded MiB | messages/s | Arrow MiB/s | x vendor | of limit "
        "| wire/recorded | lz4 | peak MiB | vendor peak |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['case']} | {row['messages']:,} | {row['recorded_mib']:.1f} "
            f"| {row['messages_per_s']:,.0f} | {row['arrow_mib_per_s']:,.0f} "
            f"| {row['vendor_ratio']:,.0f} | {row['limit_ratio']:.2f} "
            f"| {row['wire_per_recorded_byte']:.2f} | {row['wire_per_recorded_byte_lz4']:.2f} "
            f"| {row['peak_mib']:.0f} | {row['vendor_peak_mib']:.0f} |"
        )


if __name__ == "__main__":
    main()
