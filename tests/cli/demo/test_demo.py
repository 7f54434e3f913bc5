"""The demonstration a second time: beside a running one, after one, on a port that is taken."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bridge.cli import write_drive

ROOT = Path(__file__).parents[3]
START_NS = 1_760_000_000_000_000_000


def demo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bridge", "demo", "--seconds", "1", *arguments]


def refused(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a demonstration that is expected to end by itself."""
    return subprocess.run(demo(*arguments), capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Keep a demonstration at work; give the address of its page."""
    with subprocess.Popen(
        demo("--folder", str(folder), "--http-port", "0"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "until Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        try:
            yield next(line.split()[-1] for line in lines if line.startswith("status page"))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def recordings(page: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{page}api/recordings") as answer:
        return {one["name"]: one for one in json.load(answer)["recordings"]}


def test_a_demonstration_keeps_what_is_not_its_own(tmp_path: Path) -> None:
    """A second one beside it ends untouched; the next one takes only its own drive away."""
    folder = tmp_path / "var"
    with running(folder) as page:
        (first,) = recordings(page)
        before = sorted(folder.rglob("*.mcap"))
        done = refused("--folder", str(folder), "--http-port", "0")
        assert done.returncode == 1
        assert "already" in done.stderr
        assert f"make run FOLDER={folder}2 PORT=" in done.stderr
        assert sorted(folder.rglob("*.mcap")) == before
        assert recordings(page)[first]["state"] == "finalised"
    mine = write_drive(tmp_path, name="mine", start_ns=START_NS, duration_s=1.0)
    shutil.move(mine, folder / "recordings" / "mine")
    with running(folder) as page:
        known = recordings(page)
        second = next(name for name in known if name not in {first, "mine"})
    left = {path.name for path in (folder / "recordings").iterdir()}

    assert left == {"mine", second}
    assert known[first]["state"] == "finalised", "its state was kept"


def test_a_taken_port_removes_nothing_and_names_the_way_out(tmp_path: Path) -> None:
    """Where another program has the port, the message says how to choose another."""
    folder = tmp_path / "var"
    old = folder / "recordings" / "drive_old" / "drive_old_0.mcap"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"a drive of the last time")
    (folder / ".mosaico-bridge-demo").write_text("drive_old\n", encoding="utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = refused("--folder", str(folder), "--http-port", str(port))

    assert done.returncode == 78
    assert re.search(rf"{port}.*\n.*make run PORT=\d+", done.stderr)
    assert old.exists()


def test_make_run_hands_on_port_and_folder() -> None:
    """`make run PORT=... FOLDER=...` reaches the command."""
    done = subprocess.run(
        ["make", "--dry-run", "run", "PORT=9555", "FOLDER=other"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip

    assert 'demo --folder "other" --http-port 9555' in done.stdout
