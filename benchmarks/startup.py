"""What starting costs: the command line against a bare start of the same Python, in turns.

Everybody waits for it at each `--help`, and a shell at each completion. Time of the processor is
user and system time of the process and is steadier than the clock on a machine that works.
"""

import os
import resource
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.scope import Scope
from benchmarks.tables import Table
from benchmarks.timing import clocked

TURNS, QUICK_TURNS = 10, 3
PROGRAM = str(Path(sys.executable).with_name("mosaico-bridge"))
BARE = "python -c pass"
COMPLETION = {
    "_MOSAICO_BRIDGE_COMPLETE": "complete_bash",
    "COMP_WORDS": "mosaico-bridge sta",
    "COMP_CWORD": "1",
}
# Name -> command line, what is added to the environment, and what it has to print.
CASES: dict[str, tuple[list[str], dict[str, str], bytes]] = {
    BARE: ([sys.executable, "-c", "pass"], {}, b""),
    "mosaico-bridge --help": ([PROGRAM, "--help"], {}, b"Usage"),
    "completion of a command": ([PROGRAM], COMPLETION, b"status"),
    "mosaico-bridge config default": ([PROGRAM, "config", "default"], {}, b"[watch]"),
    "mosaico-bridge status --help": ([PROGRAM, "status", "--help"], {}, b"Usage"),
}


def run(scope: Scope) -> list[Table]:
    """Start each in turn, and give medians and their ratios to a bare start."""
    scope.say("startup")
    wall_s: dict[str, list[float]] = {name: [] for name in CASES}
    busy_s: dict[str, list[float]] = {name: [] for name in CASES}
    # The first turn only fills caches.
    for turn in range(1 + (QUICK_TURNS if scope.quick else max(TURNS, scope.runs))):
        for name in CASES:
            before_s = _busy_s()
            taken_s = clocked(partial(_start, name))
            if turn:
                wall_s[name].append(taken_s)
                busy_s[name].append(_busy_s() - before_s)
    rows = []
    for name in CASES:
        busy, wall = statistics.median(busy_s[name]), statistics.median(wall_s[name])
        bare_busy, bare_wall = statistics.median(busy_s[BARE]), statistics.median(wall_s[BARE])
        rows.append((name, 1e3 * busy, busy / bare_busy, 1e3 * wall, wall / bare_wall))
    columns = ("command", "CPU ms", "x bare Python", "wall ms", "x bare Python, wall")
    return [Table("Start of the command line", columns, rows)]


def _start(name: str) -> None:
    command, environment, wanted = CASES[name]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | environment)
    if wanted not in done.stdout:
        raise SystemExit(f"{name} does not print {wanted!r}")


def _busy_s() -> float:
    """Give the processor's time of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
