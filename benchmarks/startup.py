"""What starting costs: the command line against a bare start of the same Python, in turns.

Everybody waits for it at each `--help`, and a shell at each completion. The light commands ask a
journal with a recording in it, `check` asks a platform as well: its first lines come before that.
Time of the processor is user and system time of the process and is steadier than the clock on a
machine that works. Bytecode is compiled before, as every way to install the bridge does.
"""

import compileall
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bridge
from benchmarks.cases import DRIVE
from benchmarks.recordings import write_mcap
from benchmarks.scope import Scope
from benchmarks.served import served
from benchmarks.tables import Table

TURNS, QUICK_TURNS = 10, 3
PROGRAM = str(Path(sys.executable).with_name("mosaico-bridge"))
COMPLETION = {
    "_MOSAICO_BRIDGE_COMPLETE": "complete_bash",
    "COMP_WORDS": "mosaico-bridge sta",
    "COMP_CWORD": "1",
}
SETTINGS = """[watch]
folder = "{folder}/watched"
settle_s = 1
[state]
folder = "{folder}/state"
[server]
host = "127.0.0.1"
port = {port}
[http]
port = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line to start.

    Attributes:
        name: What it is called in the table.
        line: What is executed.
        wanted: What it has to print.
        code: What it exits with.
        environment: What is added to the environment.
    """

    name: str
    line: list[str]
    wanted: bytes
    code: int = 0
    environment: dict[str, str] = field(default_factory=dict)


BARE = Command(name="python -c pass", line=[sys.executable, "-c", "pass"], wanted=b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What one start took: of the clock until the first output and the end, of the processor."""

    first_s: float
    whole_s: float
    busy_s: float


def run(scope: Scope) -> list[Table]:
    """Start each in turn, and give medians and their ratios to a bare start."""
    scope.say("startup")
    compileall.compile_dir(Path(bridge.__file__).parent, quiet=1)
    with _commands(scope.folder) as commands:
        starts: dict[str, list[Start]] = {command.name: [] for command in commands}
        # The first turn only fills caches.
        for turn in range(1 + (QUICK_TURNS if scope.quick else max(TURNS, scope.runs))):
            for command in commands:
                start = _start(command)
                if turn:
                    starts[command.name].append(start)
    rows = []
    bare_s = _medians_s(starts[BARE.name])
    for name, each in starts.items():
        first_s, whole_s, busy_s = _medians_s(each)
        rows.append(
            (
                name,
                1e3 * busy_s,
                busy_s / bare_s[2],
                1e3 * first_s,
                1e3 * whole_s,
                whole_s / bare_s[1],
            )
        )
    columns = (
        "command", "CPU ms", "x bare Python", "first output ms", "wall ms", "x bare Python, wall",
    )  # fmt: skip
    return [Table("Start of the command line", columns, rows)]


@contextmanager
def _commands(folder: Path) -> Iterator[list[Command]]:
    """Give what is started, beside a platform and a journal that has one recording."""
    watched, settings = folder / "watched", folder / "bridge.toml"
    watched.mkdir()
    recording = watched / "drive.mcap"
    write_mcap(recording, DRIVE, 0.05)
    with served(folder / "platform") as port:
        settings.write_text(SETTINGS.format(folder=folder, port=port), encoding="utf-8")
        given = ["--config", str(settings)]
        sent = subprocess.run([PROGRAM, "once", *given], capture_output=True, check=False)
        if sent.returncode:
            raise SystemExit(f"once ended with {sent.returncode}: {sent.stderr.decode()}")
        yield [
            BARE,
            Command(name="--help", line=[PROGRAM, "--help"], wanted=b"Usage"),
            Command(
                name="completion of a command",
                line=[PROGRAM],
                wanted=b"status",
                environment=COMPLETION,
            ),
            Command(name="config default", line=[PROGRAM, "config", "default"], wanted=b"[watch]"),
            Command(name="status", line=[PROGRAM, "status", *given], wanted=b"drive", code=1),
            Command(
                name="explain", line=[PROGRAM, "explain", str(recording), *given], wanted=b"drive"
            ),
            Command(name="check", line=[PROGRAM, "check", *given], wanted=b"permitted"),
        ]


def _start(command: Command) -> Start:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.perf_counter()
    with subprocess.Popen(
        command.line,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | command.environment,
    ) as process:
        assert process.stdout is not None
        head = os.read(process.stdout.fileno(), 1)
        first_s = time.perf_counter() - started_s
        printed = head + process.stdout.read()
    whole_s = time.perf_counter() - started_s
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != command.code or command.wanted not in printed:
        raise SystemExit(f"{command.name} ends with {process.returncode} and prints {printed!r}")
    busy_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return Start(first_s=first_s, whole_s=whole_s, busy_s=busy_s)


def _medians_s(starts: list[Start]) -> tuple[float, float, float]:
    parts = zip(*((each.first_s, each.whole_s, each.busy_s) for each in starts), strict=True)
    first_s, whole_s, busy_s = map(statistics.median, parts)
    return first_s, whole_s, busy_s
