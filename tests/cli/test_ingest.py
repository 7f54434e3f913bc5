"""`ingest`, `inspect` and `once` on folders, without a platform, and when the platform fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import write_drive
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import ingest as send

START_NS = 1_760_000_000_000_000_000
MESSAGES = 281
"""What one second of the sample drive holds."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two recordings, a third one deeper, and a file that is none."""
    folder = tmp_path_factory.mktemp("bags") / "rec"
    folder.mkdir()
    for number, name in enumerate(("first", "second", "deep/er/third")):
        place = (folder / name).parent
        place.mkdir(parents=True, exist_ok=True)
        write_drive(
            place, name=Path(name).name, start_ns=START_NS + number * 10**12, duration_s=1.0
        )
    (folder / "page.mcap").write_text("<html>not found</html>", encoding="utf-8")
    return folder


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, in which every file that a command creates is seen."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def test_ingest_takes_every_recording_below_a_folder(
    tree: Path, tmp_path: Path, command: Any
) -> None:
    """What was found is told first, each has a line at the end, the bad file gives the code."""
    with EmbeddedServer(tmp_path / "platform") as server:
        target = ("--host", "127.0.0.1", "--port", server.port, "--state", tmp_path / "state")
        done = command("ingest", tree, *map(str, target), "--name", "{stem}")
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            arrived = client.list_sequences()

    assert sorted(arrived) == ["first", "second", "third"]
    assert done.code == 65
    assert f"4 recordings below {tree}/" in done.err
    lines = done.out.splitlines()
    assert lines[-1] == "4 recordings: 3 whole, 1 failed"
    summary = {line.split()[0]: line for line in lines[-5:-1]}
    assert summary["first"].split()[2] == str(MESSAGES)
    assert "failed: the file is text" in summary["page.mcap"]
    assert all(line == line.rstrip() for line in lines), "a pipe gets no padding"


def test_ingest_of_a_folder_that_is_a_recording_searches_nothing(
    tree: Path, tmp_path: Path, command: Any
) -> None:
    """A bag folder is one recording, as before, and says nothing of a search."""
    done = command("ingest", tree / "first", "--embedded", "--state", tmp_path, "--json")

    assert done.code == 0
    assert "below" not in done.err
    assert [report["messages_sent"] for report in done.json["reports"]] == [MESSAGES]


def test_what_was_there_already_is_said_without_rates(
    tree: Path, tmp_path: Path, command: Any
) -> None:
    """A second run sends nothing, and claims no speed for it."""
    words = ("ingest", tree / "first", "--embedded", "--state", tmp_path)
    assert command(*words).code == 0
    done = command(*words)

    assert done.code == 0
    assert "was there already" in done.out
    assert "messages/s" not in done.out


def test_inspect_looks_at_every_recording_below_a_folder(tree: Path, command: Any) -> None:
    """A table for each, a summary, and the code of what cannot be read; JSON has them all."""
    done = command("inspect", tree)
    listed = command("inspect", tree, "--json")

    assert done.code == listed.code == 65
    assert done.out.count("closed properly") == 3
    assert "not at all: the file is text" in done.out
    assert [one["message_count"] for one in listed.json["recordings"]] == [MESSAGES] * 3
    assert [one["error"] for one in listed.json["failures"]] == ["NotARecordingError"]


@pytest.mark.parametrize("words", [("ingest", "{tree}"), ("once", "--folder", "{tree}")])
def test_without_a_platform_nothing_is_sent_until_one_is_named(
    tree: Path, clean: Path, command: Any, words: tuple[str, ...]
) -> None:
    """A forgotten --host is an error that names both ways out, and leaves no file behind."""
    done = command(*(word.format(tree=tree) for word in words))

    assert done.code == 2
    assert "--host" in done.err
    assert "--embedded" in done.err
    assert not list(clean.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("ingest", "nowhere", "--embedded"),
        ("ingest", "nowhere", "--host", "127.0.0.1"),
        ("inspect", "nowhere"),
        ("once", "--folder", "nowhere", "--embedded"),
        ("explain", "nowhere"),
    ],
    ids=" ".join,
)
def test_nothing_is_created_for_a_path_that_does_not_exist(
    clean: Path, command: Any, words: tuple[str, ...]
) -> None:
    """A mistyped path is an error, and no state folder, server or lock appears."""
    done = command(*words)

    assert done.code not in {0, 3}
    assert "nowhere" in done.out + done.err
    assert not list(clean.iterdir())


def test_two_destinations_are_refused(tree: Path, clean: Path, command: Any) -> None:
    """--host and --embedded contradict each other."""
    done = command("ingest", tree, "--host", "127.0.0.1", "--embedded")

    assert done.code == 2
    assert not list(clean.iterdir())


def test_reports_survive_a_platform_that_goes_away(
    tree: Path, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent before the platform died is reported; the rest is listed as not tried."""
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVER__TIMEOUT_S", "1")
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVER__STALL_TIMEOUT_S", "2")
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVER__CALL_TIMEOUT_S", "2")
    serve = [sys.executable, "-m", "bridge", "serve", "--port", "0"]
    serve += ["--folder", str(tmp_path / "platform")]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().rsplit(":", 1)[1].strip()
        # The second recording is a pipe to a server that is killed when it is its turn.
        killed = _kill_before_second(monkeypatch, server)
        done = command(
            "ingest", tree / "first", tree / "second", tree / "deep/er/third", "--json",
            "--host", "127.0.0.1", "--port", port, "--state", tmp_path / "state",
        )  # fmt: skip

    assert killed
    assert done.code == 69
    assert [report["messages_sent"] for report in done.json["reports"]] == [MESSAGES]
    assert [Path(one["path"]).name for one in done.json["failures"]] == ["second"]
    assert [Path(path).name for path in done.json["not_tried"]] == ["third"]


def _kill_before_second(
    monkeypatch: pytest.MonkeyPatch, server: "subprocess.Popen[str]"
) -> list[bool]:
    killed: list[bool] = []

    def watched(recording: Any, **others: Any) -> Any:
        if recording.path.name == "second":
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            killed.append(True)
        return send(recording, **others)

    monkeypatch.setattr("bridge.cli.ingest.ingest_recording", watched)
    return killed
