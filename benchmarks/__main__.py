"""`make bench`: verify, then time, then print ratios against named rivals and limits.

The lowest and the highest of each ratio end the run. Figures are comparable within a run only.
Nothing is asserted about times.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    backfill,
    client,
    daemon,
    embedded,
    formats,
    ingest,
    line,
    mapping,
    memory,
    peers,
    startup,
    wire,
)
from benchmarks.scope import Scope
from benchmarks.tables import Table, machine, summary
from bridge.daemon.work.memory import ENVIRONMENT

SUITES: dict[str, Callable[[Scope], list[Table]]] = {
    "ingest": ingest.run,
    "formats": formats.run,
    "peers": peers.run,
    "mapping": mapping.run,
    "client": client.run,
    "embedded": embedded.run,
    "memory": memory.run,
    "wire": wire.run,
    "line": line.line,
    "topics": line.topics,
    "backfill": backfill.run,
    "idle": daemon.idle,
    "startup": startup.run,
}

RUNS = 3


def main(argv: Sequence[str] | None = None) -> None:
    """Run suites and print their tables as Markdown."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.suites) - set(SUITES):
        parser.error(f"no such suite: {', '.join(unknown)}")
    # Ours, the vendor and the limit are given the allocator of a worker alike.
    os.environ.update(ENVIRONMENT)
    print(f"{machine()}\n", flush=True)
    tables: list[Table] = []
    for name in arguments.suites or SUITES:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.folder) as folder:
            scope = Scope(
                folder=Path(folder),
                quick=arguments.quick,
                runs=arguments.runs or (1 if arguments.quick else RUNS),
                scale=arguments.scale,
                names=frozenset(arguments.cases.split(",") if arguments.cases else ()),
            )
            started_s = time.monotonic()
            for each in SUITES[name](scope):
                print(each, flush=True)
                tables.append(each)
            minutes = (time.monotonic() - started_s) / 60
            print(f"{name}: {minutes:.1f} minutes\n", flush=True)
    print(summary(tables), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"all by default: {', '.join(SUITES)}")
    parser.add_argument("--cases", help="names within a suite, separated by commas")
    runs = f"repetitions of each measurement; {RUNS} by default, 1 with --quick"
    parser.add_argument("--runs", type=int, help=runs)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the recordings")
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--folder", help="where recordings are written meanwhile")
    return parser


if __name__ == "__main__":
    main()
