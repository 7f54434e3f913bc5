"""Two bridges, and a one-off ingest, on the same recordings: nobody removes another's work."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.client import MosaicoClient
from bridge.daemon.journal.instance import INSTANCE_FILE
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.embedded import EmbeddedServer
from bridge.embedded.archive import Archive
from bridge.errors import JournalError
from tests.daemon.conftest import ROOT, Bridge
from tests.daemon.platforms import chatter, rows_on
from tests.daemon.processes import children
from tests.daemon.test_parts import Field

HERE = Path(__file__).parent


class Site:
    """One platform, one watched folder, and any number of bridges over them."""

    def __init__(self, bridge: Bridge, server: EmbeddedServer) -> None:
        self.bridge = bridge
        self.server = server
        self.messages: dict[str, int] = {}

    def drop(self, name: str, messages: int) -> Path:
        self.messages[name] = messages
        return self.bridge.drop(f"{name}.mcap", self.bridge.mcap_bytes(name * 30, messages))

    def config(self, state: Path, **choices: str) -> Path:
        path = state.with_suffix(".toml")
        given: dict[str, Any] = (
            self.bridge.overrides
            | {f"ingest.{name}": choice for name, choice in choices.items()}
            | {
                "state.folder": str(state),
                "server.host": "127.0.0.1",
                "server.port": self.server.port,
                "ingest.max_batch_size_records": 500,
                "retry.attempts_max": 200,
            }
        )
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()))
        return path

    @contextlib.contextmanager
    def daemon(self, state: Path, **choices: str) -> Iterator["subprocess.Popen[bytes]"]:
        config = self.config(state, **choices)
        command = [sys.executable, str(HERE / "daemon_process.py"), str(config)]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def once(self, *paths: Path) -> "subprocess.Popen[bytes]":
        config = self.config(self.bridge.folder / "once")
        command = [sys.executable, "-m", "bridge", "ingest", "-c", str(config), "--json"]
        return subprocess.Popen([*command, *map(str, paths)], stdout=subprocess.DEVNULL)

    def states(self, state: Path) -> dict[str, State]:
        with contextlib.suppress(JournalError), Journal.read(state) as journal:
            return {entry.path.stem: entry.state for entry in journal.recordings()}
        return {}

    def settled(self, *folders: Path) -> bool:
        whole = dict.fromkeys(self.messages, State.FINALISED)
        return all(self.states(folder) == whole for folder in folders)

    def all_arrived(self) -> bool:
        """Tell whether everything stands on the platform, whole and once."""
        return rows_on(self.server.port) == chatter(self.messages)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever anybody lets the platform remove."""
    log: list[str] = []
    delete = Archive.delete

    def deleting(archive: Archive, record: Any) -> None:
        log.append(record.locator)
        delete(archive, record)

    monkeypatch.setattr(Archive, "delete", deleting)
    return log


@pytest.fixture
def site(bridge: Bridge, removed: list[str]) -> Iterator[Site]:
    assert not removed
    with EmbeddedServer(bridge.folder / "platform") as server:
        yield Site(bridge, server)


@pytest.mark.slow
def test_bridges_and_an_ingest_share_the_work(site: Site, removed: list[str]) -> None:
    """All that come to a recording end with it on the platform, once, and nothing was removed."""
    paths = [site.drop(f"r{number}", chosen) for number, chosen in enumerate((10, 20_000, 40_000))]
    one, two = site.bridge.folder / "one", site.bridge.folder / "two"
    with site.daemon(one), site.daemon(two), site.once(*paths) as ingest:
        site.bridge.wait_for(lambda: site.settled(one, two))
        ingest.wait(60)

    assert site.all_arrived()
    assert removed == []


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["mcap", "db3", "bag"])
def test_bridges_with_different_units_send_no_part_twice(site: Site, extension: str) -> None:
    """On one folder, started at one moment over what is there, and while more comes."""
    field = Field(site.bridge, site.server.port, extension)
    one, two = site.bridge.folder / "one", site.bridge.folder / "two"

    def record(turn: int) -> None:
        for number in range(4):
            # Of ROS 1 splits need no folder of their own.
            folder = "" if extension == "bag" else f"drive{turn}/"
            field.put(4 * turn + number, f"{folder}drive{turn}_{number}")
        if extension != "bag":
            field.describe(f"drive{turn}", *(f"drive{turn}_{number}" for number in range(4)))

    def sent(state: Path, number: int) -> bool:
        states = site.states(state).values()
        return len(states) == number and set(states) == {State.FINALISED}

    for turn in range(3):
        record(turn)
    with site.daemon(one, unit="recording"), site.daemon(two, unit="split"):
        for turn in range(3, 6):
            record(turn)
        # What is given way to is deleted meanwhile, so nothing is counted before all is at rest.
        site.bridge.wait_for(lambda: sent(one, 6) and sent(two, 24), patience_s=180)
        assert field.arrived(*range(24))
    with MosaicoClient.connect("127.0.0.1", site.server.port) as client:
        handlers = [client.sequence_handler(name) for name in client.list_sequences()]
    assert all(handler is not None and handler.is_locked for handler in handlers)


@pytest.mark.parametrize("cloned", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_bridge_that_stands_still_keeps_its_work(
    site: Site, removed: list[str], *, cloned: bool
) -> None:
    """Half-written work of a bridge that is merely slow is left alone, and found once done.

    Also where both have one name, because one machine's disk is a copy of the other's.
    """
    site.drop("slow", 150_000)
    one, two = site.bridge.folder / "one", site.bridge.folder / "two"
    if cloned:
        for state in (one, two):
            state.mkdir()
            (state / INSTANCE_FILE).write_text("0123456789abcdef0123456789abcdef\n")
    with site.daemon(one) as first:
        with MosaicoClient.connect("127.0.0.1", site.server.port) as client:
            site.bridge.wait_for(client.list_sequences)
        stopped = [first.pid, *children(first.pid)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        with site.daemon(two):
            site.bridge.wait_for(lambda: site.states(two) == {"slow": State.WAITING})
            assert site.states(one) == {"slow": State.SENDING}
            with site.once(*site.bridge.watched.iterdir()) as ingest:
                assert ingest.wait(60) != 0
            for pid in reversed(stopped):
                os.kill(pid, signal.SIGCONT)
            site.bridge.wait_for(lambda: site.settled(one, two))
        with Journal.read(two) as journal:
            (entry,) = journal.recordings()
            reasons = [step.reason for step in journal.transitions(entry.id)]

    by = "another bridge of this name" if cloned else "bridge"
    assert any(f"is being written by {by}" in reason for reason in reasons)
    assert site.all_arrived()
    assert removed == []
