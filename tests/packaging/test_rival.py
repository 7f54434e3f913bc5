"""What the README says of the vendor's watchdog, tried on the vendor's watchdog itself."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import MosaicoClient
from bridge.cli import write_drive
from bridge.embedded import EmbeddedServer
from tests.packaging.conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow

START_NS = 1_700_000_000_000_000_000
SPLITS = 3
# Run once over a folder with every default; what it could not send, it lists in a file there.
WATCHDOG = """
import sys
from pathlib import Path
from mosaicolabs.watchdog.watchdog import Watchdog, WatchdogConfig
Watchdog(WatchdogConfig(path_to_monitor=Path(sys.argv[1]), port=int(sys.argv[2]))).run()
"""


def run_watchdog(folder: Path, port: int) -> set[str]:
    """Let the vendor's watchdog take everything in a folder, and give what it quarantined."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHDOG, str(folder), str(port)],
        capture_output=True, text=True, timeout=200, check=False, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = folder / ".quarantine_file.txt"
    return set(listed.read_text(encoding="utf-8").splitlines()) if listed.exists() else set()


def run_bridge(folder: Path, state: Path, port: int) -> int:
    """Let the bridge take everything in a folder, and give its exit code."""
    target = ("--folder", str(folder), "--state", str(state), "--host", "127.0.0.1")
    quick = {"MOSAICO_BRIDGE_WATCH__SETTLE_S": "0.2", "MOSAICO_BRIDGE_WATCH__STALE_S": "0.5"}
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "once", *target, "--port", str(port)],
        capture_output=True, text=True, timeout=200, check=False, cwd=ROOT,
        env=clean_environment() | quick,
    )  # fmt: skip
    return done.returncode


def on_platform(port: int) -> dict[str, int]:
    """Give every sequence with the number of its messages."""
    with MosaicoClient.connect("127.0.0.1", port) as client:
        found = {}
        for name in client.list_sequences():
            handler = client.sequence_handler(name)
            assert handler is not None
            tables = [handler.topic_handler(topic) for topic in handler.topics]
            found[name] = sum(topic.table().num_rows for topic in tables)
        return found


def test_splits_become_sequences_there_and_one_here(tmp_path: Path) -> None:
    """A recording of three files is three sequences of the watchdog's, and one of ours."""
    folder = tmp_path / "recordings"
    write_drive(folder, name="drive", start_ns=START_NS, duration_s=1.0, splits=SPLITS)
    with EmbeddedServer(tmp_path / "theirs") as server:
        assert run_watchdog(folder, server.port) == set()
        theirs = on_platform(server.port)
    with EmbeddedServer(tmp_path / "ours") as server:
        assert run_bridge(folder, tmp_path / "state", server.port) == 0
        ours = on_platform(server.port)

    assert (len(theirs), len(ours)) == (SPLITS, 1)
    assert sum(theirs.values()) == sum(ours.values())


def test_a_cut_recording_is_quarantined_there_and_salvaged_here(tmp_path: Path) -> None:
    """Of a file without its end, the watchdog sends nothing and the bridge what is intact."""
    folder = tmp_path / "recordings"
    bag = write_drive(tmp_path, name="drive", start_ns=START_NS, duration_s=2.0, splits=1)
    (file,) = bag.glob("*.mcap")
    folder.mkdir()
    (folder / "cut.mcap").write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with EmbeddedServer(tmp_path / "theirs") as server:
        assert run_watchdog(folder, server.port) == {"cut.mcap"}
        assert sum(on_platform(server.port).values()) == 0
    with EmbeddedServer(tmp_path / "ours") as server:
        assert run_bridge(folder, tmp_path / "state", server.port) == 3
        assert sum(on_platform(server.port).values()) > 0


def test_an_absent_server_costs_recordings_there_and_time_here(tmp_path: Path) -> None:
    """Good recordings are quarantined by the watchdog, and arrive later with the bridge."""
    folder = tmp_path / "recordings"
    write_drive(folder, name="drive", start_ns=START_NS, duration_s=1.0, splits=1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        assert len(run_watchdog(folder, port)) == 1
        run_bridge(folder, tmp_path / "state", port)
    with EmbeddedServer(tmp_path / "platform") as server:
        assert len(run_watchdog(folder, server.port)) == 1
        assert on_platform(server.port) == {}
        assert run_bridge(folder, tmp_path / "state", server.port) == 0
        assert len(on_platform(server.port)) == 1
