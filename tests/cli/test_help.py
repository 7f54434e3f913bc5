"""The help page, which is written without asking typer, and what starting costs."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer.main
from mcap.writer import Writer

from bridge.cli import app
from bridge.cli.commands import COMMANDS, OPTIONS, help_page
from bridge.version import __version__

PAGE_WIDTH = 80
# Their commands have sections of their own on the page of commands.
GROUPS = {"config", "notifications"}
DOCS = Path(__file__).parents[2] / "docs" / "commands.md"
PROGRAM = typer.main.get_command(app)


def said(*arguments: str) -> str:
    """Give what a command line prints, run as a process of its own."""
    command = [sys.executable, "-m", "bridge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_line_of_the_help_page_is_how_the_help_of_its_command_begins(name: str) -> None:
    """The page says of a command what the command says of itself, up to a pause."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    own = found.info.help if isinstance(found, typer.Typer) else inspect.getdoc(found)

    assert re.match(re.escape(COMMANDS[name][1]) + r"[.,:;]", str(own))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in GROUPS])
def test_the_page_of_commands_begins_each_as_its_own_help_does(name: str) -> None:
    """docs/commands.md says of a command what `--help` says, word for word."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    section = DOCS.read_text(encoding="utf-8").partition(f"\n## {name}\n\n")[2]
    said = section.partition("\n")[0].partition("`: ")[2]

    assert said[:1].upper() + said[1:] == str(inspect.getdoc(found)).partition("\n")[0]


def test_every_command_explains_itself_when_loaded_alone() -> None:
    """Each line of the table leads to a command that typer can show the help of."""
    for name, command in PROGRAM.commands.items():  # type: ignore[attr-defined]
        page = command.get_help(typer.Context(command, info_name=f"mosaico-bridge {name}"))
        assert page.startswith(f"Usage: mosaico-bridge {name} ")


def test_the_page_lists_the_options_that_typer_takes() -> None:
    """Every option in front of a command is on the page, with typer's own words."""
    options = {"-h, --help": "Show this message and exit."}
    for parameter in PROGRAM.params:
        options[parameter.opts[0]] = str(getattr(parameter, "help", "")).partition(",")[0]

    assert {name: text.rstrip(".") for name, text in options.items()} == {
        name: text.rstrip(".") for name, text in OPTIONS.items()
    }


def test_the_page_is_the_same_whoever_prints_it() -> None:
    """Alone, `--help` is answered at once; behind another option typer shows the same page."""
    assert said("--help") == said("-h") == help_page() + "\n"
    assert said("--help", "status") == help_page() + "\n"
    assert max(map(len, help_page().splitlines())) <= PAGE_WIDTH


def test_help_and_version_import_nothing_but_the_page() -> None:
    """`--help` and `--version` start as fast as Python: no library, no other part, no typing."""
    for option in ("--help", "--version"):
        watched = f"""
import sys
before = set(sys.modules)
sys.argv = ["mosaico-bridge", "{option}"]
from bridge.cli import main
try:
    main()
finally:
    print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""
        done = subprocess.run(
            [sys.executable, "-c", watched], capture_output=True, text=True, check=True, timeout=60
        )
        ours = {name for name in done.stderr.split() if name.startswith("bridge")}

        assert ours == {
            "bridge", "bridge.version", "bridge.cli", "bridge.cli.commands",
        }  # fmt: skip
        assert not set(done.stderr.split()) & {"typing", "typer", "rich", "re", "pyarrow"}


def test_a_command_imports_what_it_uses_and_no_other_command() -> None:
    """`config default` needs neither Arrow nor the daemon, and loads neither."""
    watched = """
import sys
sys.argv = ["mosaico-bridge", "config", "default"]
from bridge.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", watched], capture_output=True, text=True, check=True, timeout=60
    )

    assert not set(done.stderr.split()) & {"pyarrow", "bridge.daemon", "bridge.cli.run", "numpy"}


def write_split(file: Path, *, time_ns: int) -> None:
    """Write a recording of one message."""
    with file.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        schema = writer.register_schema("std_msgs/msg/Bool", "ros2msg", b"bool data")
        channel = writer.register_channel("/lamp", "cdr", schema)
        writer.add_message(channel, log_time=time_ns, publish_time=0, data=b"\0\1\0\0\1")
        writer.finish()  # type: ignore[no-untyped-call]


HEAVY = {
    "asyncio", "bridge.cdr", "bridge.client.client", "bridge.daemon.events.events", "numpy",
    "pandas", "prometheus_client", "pyarrow", "rosbags", "ruamel.yaml", "watchdog",
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (["status"], {"http.client"}),
        (["explain", "{folder}/drive_0.mcap"], {"bridge.bags.endings"}),
        (["explain", "{folder}"], {"bridge.bags.mcap.summary"}),
        (["check", "--folder", "{folder}"], {"bridge.bags.discovery"}),
    ],
    ids=["status", "explain", "explain splits", "check"],
)
def test_who_looks_at_this_machine_needs_no_arrow(
    tmp_path: Path, command: list[str], needed: set[str]
) -> None:
    """A look at the journal, at recordings or at the machine loads no Arrow, client or decoder.

    They take as long as everything else of such a command together.
    """
    folder = tmp_path / "drive"
    folder.mkdir()
    for number in range(2):
        write_split(folder / f"drive_{number}.mcap", time_ns=number)
    words = [word.format(folder=folder) for word in command]
    watched = f"""
import sys
sys.argv = ["mosaico-bridge", *{words!r}, "--state", {str(tmp_path / "state")!r}]
from bridge.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", watched], capture_output=True, text=True, check=False, timeout=60
    )
    loaded = set(done.stderr.split())

    assert {"bridge.config", *needed} <= loaded
    assert not loaded & HEAVY


def test_the_version_is_that_of_the_package() -> None:
    """`--version` prints it, alone and through typer."""
    assert said("--version") == f"{__version__}\n"
    assert said("--version", "status") == f"{__version__}\n"


STATUS = """
import contextlib, sys
import bridge.cli
sys.argv[1:] = ["status", "--state", "/nowhere"]
with contextlib.suppress(SystemExit):
    bridge.cli.main()
"""


@pytest.mark.parametrize(
    ("program", "needed", "spared"),
    [
        (
            "import bridge.cli.run, bridge.daemon.daemon",
            {"bridge.ingest.report", "bridge.client.client"},
            {"bridge.ingest.pipeline", "bridge.cdr", "pyarrow.compute", "markdown_it"},
        ),
        ("import bridge.daemon.work.job", {"bridge.ingest.pipeline", "pyarrow.compute"}, {"ssl"}),
        (
            STATUS,
            {"bridge.config.settings", "bridge.cli.status"},
            {"importlib.metadata", "pyarrow", "numpy"},
        ),
    ],
    ids=["daemon", "worker", "status"],
)
def test_processes_that_wait_for_days_load_no_more_than_they_use(
    program: str, needed: set[str], spared: set[str]
) -> None:
    """A parked vehicle keeps the daemon and a spare worker in memory; each module takes some."""
    # What only stands in for a module has no specification.
    program += """
import sys
print(*(name for name, module in sys.modules.items() if getattr(module, "__spec__", None)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())

    assert needed <= loaded
    assert not loaded & {*spared, "asyncio", "numpy.random", "ruamel.yaml"}


def test_module_that_is_spared_is_there_when_it_is_used() -> None:
    """For who imported it in the block, and for all others in every way of importing."""
    program = """
import sys
from bridge.facade import spared
with spared("asyncio"):
    import asyncio as before
assert before.__spec__ is None and "asyncio" not in sys.modules
import asyncio.queues
from asyncio import Queue
assert before.Queue is Queue is asyncio.queues.Queue is asyncio.Queue
asyncio.run(before.sleep(0))
with spared("csv", "reader"):
    from csv import reader
assert "csv" not in sys.modules
assert list(reader(["1,2"])) == [["1", "2"]]
import csv
assert csv.reader.__module__ == "_csv"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("words", ["--version", "config default", "explain nowhere --json"])
def test_output_that_goes_nowhere_is_no_bug(words: str, tmp_path: Path) -> None:
    """Closed, full or given up by its reader: one line at most, and no traceback."""
    program = f"cd {tmp_path}; PYTHONPATH={DOCS.parents[1]} {sys.executable} -m bridge {words}"
    for output, says in ((">&-", ""), (">&- 2>&- <&-", ""), ("| true", ""), (">/dev/full", FULL)):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {program} {output}"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stderr.partition(":")[2].strip().startswith(says)
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") <= 2
        assert done.returncode in ({1} if says else {0, 1, 65})


FULL = "nothing more can be written: No space left on device"
