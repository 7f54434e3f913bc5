"""`status`: from the running bridge, from the journal, once and again and again."""

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bridge.cli.terminal import shared_out, table
from bridge.daemon import Failure, Journal, State

NANOSECONDS = 1_000_000_000


def test_status_of_a_running_bridge_names_what_needs_a_person(arrived: Any, command: Any) -> None:
    """The verdict comes first; every recording is listed; the exit code asks for attention."""
    done = command("status", "-c", arrived.config)

    assert done.code == 3
    assert done.out.startswith("1 recording needs attention")
    assert "from the running bridge" in done.out
    assert str(arrived.drive) in done.out
    assert "the file is text" in done.out


def test_a_hostile_file_name_is_harmless_everywhere(arrived: Any, command: Any) -> None:
    """No escape sequence reaches the terminal, and no markup is taken out of a name."""
    bad = next(arrived.folder.glob("junk*"))
    for words in (["status"], ["explain", bad], ["retry", "./nothing[/]\x1b[31m"]):
        done = command(*words, "-c", arrived.config)

        assert "\x1b" not in done.out + done.err
    assert r"junk\x1b[31m[bold].mcap" in command("status", "-c", arrived.config).out


def test_status_as_json_has_the_same_shape_with_and_without_the_daemon(
    arrived: Any, command: Any
) -> None:
    """A script reads the same keys wherever they come from; the journal knows less."""
    asked = command("status", "-c", arrived.config, "--json").json
    read = command("status", "-c", arrived.config, "--http-port", "1", "--json").json

    assert (asked["source"], read["source"]) == ("daemon", "journal")
    assert asked["running"]
    assert read["running"]
    assert read.keys() <= asked.keys()
    assert asked["counts"] == read["counts"] == {"finalised": 1, "quarantined": 1}
    assert asked["recordings"]["recent"] == read["recordings"]["recent"]
    assert asked["embedded"]


def test_status_without_a_bridge_tells_what_waits_and_until_when(
    tmp_path: Path, command: Any
) -> None:
    """The journal alone says what will be tried again, why, and when."""
    with Journal.own(tmp_path) as journal:
        entry = journal.discover(tmp_path / "a.mcap", name="a", size_bytes=1, modified_ns=1)
        journal.move(entry.id, State.READY, "complete", fingerprint="f" * 64)
        journal.move(entry.id, State.SENDING, "attempt 1")
        journal.move(
            entry.id,
            State.WAITING,
            "the platform broke off",
            due_ns=time.time_ns() + 290 * NANOSECONDS,
            failure=Failure(error="TransientError", message="broken"),
        )
    done = command("status", "--state", tmp_path, "--http-port", "1")

    assert done.code == 1
    assert done.out.startswith("Not running  1 recording will be taken up")
    assert "the platform broke off  in 5 min" in done.out


def test_status_where_no_bridge_ever_ran_is_an_error(tmp_path: Path, command: Any) -> None:
    """Nothing is made up, and nothing is made."""
    done = command("status", "--state", tmp_path / "nowhere", "--http-port", "1")

    assert done.code == 1
    assert "no journal" in done.err
    assert not (tmp_path / "nowhere").exists()


def test_status_watched_through_a_pipe_is_one_document_per_change(arrived: Any) -> None:
    """The reader of the pipe gets a line at once, and Ctrl-C ends it well."""
    words = ["status", "-c", str(arrived.config), "--watch", "--json", "--every", "0.1"]
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        seen = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)

        assert process.wait(30) == 0
    assert seen["counts"] == {"finalised": 1, "quarantined": 1}


def test_a_bridge_of_another_state_folder_is_not_taken_for_ours(
    arrived: Any, command: Any, tmp_path: Path
) -> None:
    """The port may belong to somebody else; then only the journal is believed."""
    with Journal.own(tmp_path):
        (tmp_path / "instance").write_text("somebody-else\n", encoding="ascii")
    words = ("--state", tmp_path, "--http-port", str(arrived.http_port), "--json")

    assert command("status", *words).json["source"] == "journal"


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """A state folder whose journal knows 500 recordings, of which no bridge takes care."""
    with Journal.own(tmp_path / "state") as journal:
        for number in range(500):
            entry = journal.discover(
                tmp_path / "in" / f"drive_{number:03}.mcap", name=f"drive_{number:03}",
                size_bytes=10**6, modified_ns=1_000_000 - number,
            )  # fmt: skip
            journal.move(entry.id, State.READY, "complete", fingerprint=f"{number:064}")
            if number % 50 == 9:
                journal.move(entry.id, State.SENDING, "attempt 1")
                journal.move(entry.id, State.QUARANTINED, "torn apart")
    return tmp_path / "state"


def rows(text: str) -> list[str]:
    return re.findall(r"drive_\d+\.mcap", text)


def test_status_pages_through_hundreds_in_the_order_in_which_they_go(
    crowd: Path, command: Any
) -> None:
    """490 wait, the oldest first; each page says where it is, and the default says how to go on."""
    words = ("status", "--state", crowd, "--http-port", "1")
    assert "470 more: mosaico-bridge status --only queue" in command(*words).out
    seen = []
    for page in range(1, 11):
        done = command(*words, "--only", "queue", "--page", str(page))
        assert f"page {page} of 10, 490 recordings" in done.out
        seen += rows(done.out)
    in_order = [f"drive_{number:03}.mcap" for number in range(499, -1, -1) if number % 50 != 9]
    assert seen == in_order


def test_status_searches_by_name_and_filters_by_state(crowd: Path, command: Any) -> None:
    """A part of the name, whatever the case, and one or more states; JSON has the same."""
    words = ("status", "--state", crowd, "--http-port", "1")
    assert set(rows(command(*words, "--name", "DRIVE_12").out)) == {
        f"drive_12{digit}.mcap" for digit in range(10)
    }
    found = command(*words, "--only", "quarantined", "--json").json
    assert found["total"] == 10
    assert {one["reason"] for one in found["recordings"]} == {"torn apart"}
    wrong = command(*words, "--only", "nowhere")
    assert wrong.code == 2
    assert "quarantined" in wrong.err


def test_status_lists_what_the_running_bridge_knows(arrived: Any, command: Any) -> None:
    """The same lists over the port of a running bridge."""
    done = command("status", "-c", arrived.config, "--name", "drive")

    assert done.code == 0
    assert str(arrived.drive) in done.out
    assert "page 1 of 1, 1 recording\n" in done.out


def test_a_narrow_terminal_gets_whole_dates_and_base_names(crowd: Path) -> None:
    """In 80 columns no row of the lists is wrapped, and no date torn."""
    shown = on_terminal(80, "status", "--state", crowd, "--http-port", "1", "--only", "queue")

    lines = [line for line in shown.splitlines() if "drive_" in line]
    assert len(lines) == 50
    assert all(
        re.search(r"drive_\d+\.mcap .*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line) for line in lines
    )


def on_terminal(columns: int, *arguments: str | Path) -> str:
    """Run a command whose standard output is a terminal, and give what it showed there."""
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "bridge", *map(str, arguments)]
    with subprocess.Popen(command, stdout=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):
            while piece := os.read(leader, 4096):
                shown += piece
    os.close(leader)
    assert process.returncode == 0
    return shown.decode()


@pytest.mark.parametrize("name", ["status", "explain", "retry", "forget", "verify", "check"])
def test_every_operating_command_explains_itself(name: str, command: Any) -> None:
    """`--help` says what it does and what the exit codes mean."""
    done = command(name, "--help")

    assert done.code == 0
    assert "Exits with" in done.out


def test_status_names_the_folder_where_there_are_several(tmp_path: Path, command: Any) -> None:
    """Recordings of one name in two folders are told apart, also on a narrow terminal."""
    config = tmp_path / "bridge.toml"
    tables = "".join(f'[folders.{one}]\npath = "{tmp_path}/{one}"\n' for one in ("front", "rear"))
    config.write_text(f'[state]\nfolder = "{tmp_path}/state"\n{tables}')
    with Journal.own(tmp_path / "state") as journal:
        for folder in ("front", "rear"):
            path = tmp_path / folder / "a.mcap"
            entry = journal.discover(path, name="a", size_bytes=1, modified_ns=1)
            journal.move(entry.id, State.READY, "complete", fingerprint=folder.ljust(64, "f"))
    for words in (["status"], ["status", "--only", "queue"]):
        done = command(*words, "-c", config, "--http-port", "1")
        rows = [line.split()[2:4] for line in done.out.splitlines() if "a.mcap" in line]
        assert sorted(rows) == [[one, f"{tmp_path}/{one}/a.mcap"] for one in ("front", "rear")]


def test_narrow_terminal_cuts_names_and_no_number_or_date() -> None:
    """In 80 columns a long name is cut; what is as long as a date, or shorter, never is."""
    made = table([("id", "right"), ("recording", "left"), ("when", "left"), ("why", "fold")])
    for number in range(2):
        made.add_row(str(4711 + number), "n" * 70, "2026-11-29 02:10:34", "because it is so " * 9)
    made.add_row("1", "short", "2026-11-29 02:10:35", "")
    text = io.StringIO()
    Console(file=text, width=80).print(made)
    lines = text.getvalue().splitlines()

    assert max(map(len, lines)) <= 80
    assert sum("2026-11-29 02:10:34" in line for line in lines) == 2
    assert any(line.startswith("4711") for line in lines)
    assert any("short  " in line for line in lines)
    assert text.getvalue().count("because") == 18
    assert shared_out([4, 70, 19, 160], 74) == [4, 25, 19, 26]
    assert shared_out([4, 10], 74) == [4, 10]
