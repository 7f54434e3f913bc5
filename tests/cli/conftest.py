"""A bridge that really runs, shared by the tests of the commands that look at one."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main, write_drive
from bridge.client import MosaicoClient
from tests.waiting import PATIENCE_S, HeldPort, wait_for

START_NS = 1_760_000_000_000_000_000
JUNK = "junk\x1b[31m[bold].mcap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command line in this process, which spares the start of another."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["mosaico-bridge", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Done(code=int(left.value.code or 0), out=said.out, err=said.err)

    return run


class RunningBridge:
    """A daemon with its embedded server in processes of their own.

    Attributes:
        folder: The watched folder; holds a good recording and a file that is none.
        state: The state folder.
        http_port: Where it answers.
    """

    def __init__(self, base: Path) -> None:
        self.folder, self.state, self._http = base / "watched", base / "state", HeldPort()
        self.http_port = self._http.number
        self.config = base / "bridge.toml"
        self.folder.mkdir()
        self.write_config()

    def write_config(self, more: str = "") -> None:
        self.config.write_text(
            f"[watch]\nfolder = '{self.folder}'\nsettle_s = 0.2\nstale_s = 1.0\n"
            f"rescan_interval_s = 0.5\n[state]\nfolder = '{self.state}'\n"
            f"[http]\nport = {self.http_port}\n"
            # A folder that the bridge has to make, before it can say that it is ready.
            f"[disposal]\narchive_folder = '{self.folder.parent}/archive/deep'\n{more}",
            encoding="utf-8",
        )

    @property
    def drive(self) -> Path:
        return self.folder / "drive"

    def process(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "bridge", "run", "--config", str(self.config)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"MOSAICO_BRIDGE_LOG__FORMAT": "json"},
        )

    def client(self, command: Command) -> MosaicoClient:
        """Connect to the embedded server of the running bridge."""
        host, port = command("status", "-c", self.config, "--json").json["server"].split(":")
        return MosaicoClient.connect(host, int(port))

    def await_states(self, command: Command, **wanted: int) -> dict[str, Any]:
        """Wait until the bridge counts so many recordings in these states."""

        def look() -> dict[str, Any] | None:
            said = command("status", "-c", self.config, "--json")
            seen: dict[str, Any] = json.loads(said.out) if said.out else {}
            if seen.get("source") != "daemon" or seen["counts"] != wanted:
                return None
            # The counts are those of the loop's last turn, the lists those of this moment.
            listed = Counter(one["state"] for part in seen["recordings"].values() for one in part)
            return seen if listed == wanted else None

        found: dict[str, Any] = wait_for(look)
        return found


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """A bridge at work on one good recording and one bad file with a hostile name."""
    bridge = RunningBridge(tmp_path_factory.mktemp("running"))
    write_drive(bridge.folder, name="drive", start_ns=START_NS, duration_s=0.5)
    (bridge.folder / JUNK).write_bytes(b"this is no bag\n")
    with bridge.process() as process:
        # Nothing reads the log; a pipe holds more than these few lines.
        try:
            yield bridge
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)


@pytest.fixture
def arrived(running: RunningBridge, command: Command) -> RunningBridge:
    """The same bridge, when the good recording is on the platform and the bad one refused."""
    running.await_states(command, finalised=1, quarantined=1)
    return running
