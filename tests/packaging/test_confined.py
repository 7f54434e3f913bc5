"""The daemon with the unit's rights and no others: it reads, sends, moves and drains recordings."""

import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import MosaicoClient
from bridge.cli import write_drive
from tests.packaging.confined import PROGRAM, USER_ID, Confined, confined
from tests.packaging.conftest import ROOT, Installed
from tests.waiting import PATIENCE_S, wait_for

CAP_LEASE = 28
START_NS = 1_700_000_000_000_000_000
SECONDS_OF_DRIVE = 6.0

SETTINGS = """
[watch]
folder = "/mnt/data/recordings"
settle_s = 600.0  # only the lease tells in time that nobody writes
rescan_interval_s = 0.5

[server]
host = "127.0.0.1"
port = {port}

[disposal]
mode = "move"
archive_folder = "/mnt/data/archive"
verification = "range"

[http]
port = 0
"""


@pytest.fixture
def platform_port(installed: Installed, tmp_path: Path) -> Iterator[int]:
    """A platform of its own process, beside the bridge."""
    serve = ("serve", "--folder", str(tmp_path / "platform"), "--port", "0", "--until-stdin-closes")
    process = subprocess.Popen(
        [str(installed.folder / "bin" / "mosaico-bridge"), *serve],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(PATIENCE_S)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The recorder's folders: not ours, but the bridge's group may move files in them."""
    folder = tmp_path / "data"
    for name in ("recordings", "archive"):
        (folder / name).mkdir(parents=True)
        os.chown(folder / name, 0, USER_ID)
        (folder / name).chmod(0o2775)
    return folder


@pytest.fixture
def service(
    installed: Installed, tmp_path: Path, data: Path, platform_port: int
) -> Iterator[Confined]:
    """The daemon, started as the unit starts it."""
    state, settings = tmp_path / "state", tmp_path / "settings"
    state.mkdir(mode=0o700)
    os.chown(state, USER_ID, USER_ID)
    settings.mkdir()
    (settings / "bridge.toml").write_text(SETTINGS.format(port=platform_port), encoding="utf-8")
    unit = (ROOT / "systemd" / "mosaico-bridge.service").read_text(encoding="utf-8")
    pairs = re.findall(r"^Environment=(\w+)=(\S+)$", unit, re.MULTILINE)
    given = {name: value.replace("%S/mosaico-bridge", "/mnt/state") for name, value in pairs}
    (granted,) = re.findall(r"^AmbientCapabilities=CAP_(\w+)$", unit, re.MULTILINE)
    with confined(
        installed,
        (*PROGRAM, "run", "--config", "/mnt/settings/bridge.toml"),
        log=tmp_path / "log",
        environment=given,
        mounts={"data+": data, "state+": state, "settings": settings},
        capabilities=(granted.lower(),),
    ) as running:
        yield running


def ask(service: Confined, path: str) -> Any:
    """Ask the daemon's own port, wherever that is."""

    def address() -> Any:
        assert service.process.poll() is None, service.said
        return re.search(r"http://127\.0\.0\.1:\d+", service.said)

    url = wait_for(address)[0] + path

    def answered() -> Any:
        # Until the first turn of the loop is over, the answer is "not alive yet".
        with (
            contextlib.suppress(urllib.error.HTTPError),
            urllib.request.urlopen(url, timeout=10) as answer,
        ):
            return json.load(answer)

    return wait_for(answered)


def drop(data: Path, name: str, duration_s: float) -> Path:
    """Record a drive elsewhere and put it into the folder whole, readable by all, owned by root."""
    bag = write_drive(data, name=name, start_ns=START_NS, duration_s=duration_s)
    os.chown(bag, 0, USER_ID)
    bag.chmod(0o2775)
    return bag.rename(data / "recordings" / name)


def state_of(service: Confined, name: str) -> str:
    entries = ask(service, "/api/recordings")["recordings"]
    return str(next((entry["state"] for entry in entries if entry["name"] == name), ""))


def test_a_service_reads_sends_moves_and_drains(
    service: Confined, data: Path, platform_port: int
) -> None:
    """With the capability to take leases and one writable folder, all its work gets done."""
    assert ask(service, "/healthz")["alive"]
    facts = service.facts()
    assert set(facts["Uid"].split()) == {str(USER_ID)}
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 1 << CAP_LEASE
    assert facts["NoNewPrivs"] == "1"

    first = drop(data, "first", 1.0)
    wait_for((data / "archive" / "first" / "metadata.yaml").exists)
    wait_for(lambda: not first.exists())

    drop(data, "second", SECONDS_OF_DRIVE)
    wait_for(lambda: state_of(service, "second") == "sending")
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(PATIENCE_S) == 0, service.said

    with MosaicoClient.connect("127.0.0.1", platform_port) as client:
        arrived = sorted(client.list_sequences())
        whole = [client.sequence_handler(name) for name in arrived]
        assert [name.rpartition("_")[0] for name in arrived] == ["first", "second"]
        assert all(handler is not None and handler.is_locked for handler in whole)
