"""Commands of somebody who may not read what they are pointed at: findings and errors, no crash."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import write_drive
from bridge.daemon import Journal, NotificationStore

NOBODY = 65534
# The interpreter's own files may be closed to others, too: what it needs is loaded before.
AS_NOBODY = """
import os, sys
import encodings.ascii, encodings.idna, http.client
from bridge.cli import main
import bridge.cli.program, bridge.cli.{module}
os.setgid({user}); os.setuid({user}); os.chdir("/")
sys.argv = ["mosaico-bridge", *sys.argv[1:]]
main()
"""
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that nobody else may enter, with a recording and a journal in it."""
    base = Path(tempfile.mkdtemp(prefix="closed-"))
    write_drive(base, name="drive", start_ns=1_760_000_000_000_000_000, duration_s=1.0)
    with Journal.own(base / "state"):
        pass
    yield base
    shutil.rmtree(base)


def as_nobody(module: str, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    program = AS_NOBODY.format(module=module, user=NOBODY)
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@AS_ROOT
@pytest.mark.parametrize("inner", ["", "drive"])
def test_check_makes_a_finding_of_a_folder_that_cannot_be_read(closed: Path, inner: str) -> None:
    """Not an error of the command line: the other findings are there as well."""
    done = as_nobody(
        "check.command", "check", "--folder", closed / inner, "--state", "/tmp/not-there", "--json"
    )

    assert done.returncode == 1, done.stderr
    assert '"watch.folder"' in done.stdout
    assert "cannot be read" in done.stdout
    assert '"clock"' in done.stdout


@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("ingest", ("ingest", "{base}/drive", "--embedded", "--state", "/tmp/not-there"), 65),
        ("inspect", ("inspect", "{base}/drive"), 65),
        ("run", ("once", "--folder", "{base}/drive", "--embedded"), 78),
        ("retry", ("retry", "--all", "--state", "{base}/state"), 1),
        ("retry", ("forget", "1", "--state", "{base}/state"), 1),
        ("verify", ("verify", "--all", "--state", "{base}/state"), 1),
        ("notifications", ("notifications", "list", "--state", "{base}/state"), 1),
        ("status", ("status", "--state", "{base}/state", "--http-port", "1"), 1),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
@AS_ROOT
def test_every_command_says_what_may_not_be_read(
    closed: Path, module: str, words: tuple[str, ...], code: int
) -> None:
    """One line that names the path, no traceback, the code of the documentation."""
    done = as_nobody(module, *(word.format(base=closed) for word in words))

    assert done.returncode == code, done.stderr
    assert str(closed) in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("/tmp/not-there").exists()


PLACES = {"absent": "nowhere", "empty": "empty", "file": "a file"}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing, an empty folder and a file are, as the working folder."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").write_text("text\n", encoding="ascii")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("retry", "--all"),
        ("forget", "x"),
        ("verify", "--all", "--host", "127.0.0.1"),
        ("notifications", "list"),
        ("notifications", "clear", "--all", "--host", "127.0.0.1"),
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_a_state_folder_without_a_journal_is_named_whole(
    places: Path, command: Any, words: tuple[str, ...], place: str
) -> None:
    """With what is wrong with it and what to do; before anybody else is asked; nothing is made."""
    done = command(*words, "--state", place)

    assert done.code == 1
    assert f"{places / place}/journal.db" in done.err
    assert "hint: " in done.err
    assert (": there is no such folder" in done.err) == (place == "nowhere")
    assert ("is a file" in done.err) == (place == "a file")
    assert not (places / "nowhere").exists()
    assert not any((places / "empty").iterdir())


@pytest.mark.parametrize("words", [("run",), ("once", "--embedded"), ("demo",)])
def test_a_folder_that_cannot_be_made_is_named_whole(
    places: Path, command: Any, words: tuple[str, ...]
) -> None:
    """By every command that makes one, and with what to do about it."""
    folder = ("--folder", "empty", "--state") if words != ("demo",) else ("--folder",)
    done = command(*words, *folder, "a file")

    assert done.code == 1
    assert f"{places / 'a file'} cannot be made or written: a file is in its place" in done.err
    assert "hint: " in done.err


@pytest.mark.parametrize("words", [("inspect",), ("ingest", "--embedded")])
def test_a_path_without_anything_is_named_whole(
    places: Path, command: Any, words: tuple[str, ...]
) -> None:
    """A relative path starts where the command runs, which is not always where one thinks."""
    done = command(*words, "nowhere")

    assert done.code == 65
    assert f"{places / 'nowhere'}: there is nothing at this path" in done.err
    assert "hint: " in done.err


@AS_ROOT
@pytest.mark.parametrize("mode", [0o700, 0o755])
@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("status", ("status",)),
        ("retry", ("retry", "--all")),
        ("notifications", ("notifications", "list")),
        ("run", ("once", "--host", "127.0.0.1")),
    ],
)
def test_a_state_folder_of_another_user_is_named_with_what_to_do(
    closed: Path, module: str, words: tuple[str, ...], mode: int
) -> None:
    """Whether it may be read, or not even that: nothing is said of full disks, or of defects."""
    state = closed / "state"
    with NotificationStore(state):
        pass
    closed.chmod(0o755)
    state.chmod(mode)
    for file in state.iterdir():
        file.chmod(0o644)
    folder = ("--folder", closed / "drive") if module == "run" else ()
    done = as_nobody(module, *words, *folder, "--state", state)

    assert done.returncode == 1, done.stderr
    assert str(state) in done.stderr
    said = "this user may write" if module == "run" else "the bridge's user"
    assert said in done.stderr.partition("hint: ")[2]


def test_explain_says_that_it_could_not_ask_the_journal(places: Path, command: Any) -> None:
    """Not that the journal did not know the recording."""
    watched = places / "watched"
    drive = write_drive(watched, name="drive", start_ns=1_760_000_000_000_000_000, duration_s=1.0)
    done = command("explain", drive, "--folder", watched, "--state", "nowhere")

    assert done.code == 3
    assert "note: what a bridge knows of it is not shown" in done.out
    assert f"no journal at {places / 'nowhere'}/journal.db" in done.out
    assert "does not know" not in done.out
