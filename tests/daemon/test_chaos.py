"""Weeks of bad luck in a minute: outages, cuts, frozen links, full disks, and nothing is lost."""

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.daemon.events.events import Event, GateChanged, Troubled
from bridge.daemon.events.status import GateStatus
from bridge.daemon.journal.entry import Failure
from bridge.daemon.journal.states import State
from tests.daemon.chaos_proxy import ChaosProxy
from tests.daemon.platforms import chatter, rows_on

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


class Listener:
    def __init__(self) -> None:
        self.gates: list[GateStatus] = []
        self.troubles: list[Failure] = []

    def hear(self, event: Event) -> None:
        match event:
            case GateChanged(gate=gate):
                self.gates.append(gate)
            case Troubled(failure=failure):
                self.troubles.append(failure)
            case _:
                pass


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_outages_lose_nothing(bridge: "Bridge") -> None:
    """Recordings come in while the platform comes and goes; all arrive, once, none is blamed."""
    chance = random.Random(7)
    listener = Listener()
    offline = bridge.folder / "offline"
    names = [f"r{number}" for number in range(60)]
    with bridge.running(listener) as daemon:
        bridge.wait_for(lambda: daemon.status and daemon.status.gate.reached)
        before = open_files()
        for name in names:
            bridge.drop(f"{name}.mcap")
            if chance.random() < 0.5:
                offline.touch() if chance.random() < 0.5 else offline.unlink(missing_ok=True)
            time.sleep(0.05)
        offline.unlink(missing_ok=True)
        bridge.wait_for(lambda: len(bridge.log("arrived")) >= len(names))
        bridge.await_state(f"{names[-1]}.mcap", State.FINALISED)
        bridge.wait_for(
            lambda: {entry.state for entry in bridge.entries().values()} == {State.FINALISED}
        )
        after = open_files()

    assert sorted(bridge.log("arrived")) == sorted(names)
    assert {(entry.attempts, entry.deaths) for entry in bridge.entries().values()} == {(0, 0)}
    assert len(listener.gates) <= 2 * len(names)
    assert after <= before + 4


@contextlib.contextmanager
def bad_line(bridge: "Bridge") -> Iterator[ChaosProxy]:
    """Run a daemon before a platform at the end of a bad line."""
    bridge.overrides |= {"server.stall_timeout_s": 3.0, "ingest.max_batch_size_records": 500}
    with bridge.bad_line() as proxy, bridge.running():
        yield proxy


@pytest.mark.timeout(240)
def test_bad_line_delivers_everything_once(bridge: "Bridge") -> None:
    """Cuts, refusals and frozen links between bridge and platform cost time, nothing else."""
    chance = random.Random(3)
    sent = {f"r{number}": chance.choice([10, 5000, 30_000]) for number in range(8)}
    with bad_line(bridge) as proxy:
        for name, messages in sent.items():
            bridge.drop(f"{name}.mcap", bridge.mcap_bytes(name * 30, messages))
            time.sleep(chance.uniform(0.1, 1.0))
            match chance.randrange(4):
                case 0:
                    proxy.cut()
                case 1:
                    proxy.refuse()
                    time.sleep(chance.uniform(0.1, 1.0))
                    proxy.accept()
                case 2:
                    proxy.freeze()
                    time.sleep(chance.uniform(0.1, 1.0))
                    proxy.thaw()
                case 3:
                    proxy.cut_after_bytes = 300_000
                    time.sleep(chance.uniform(0.1, 1.0))
                    proxy.cut_after_bytes = None
        bridge.wait_for(
            lambda: (
                [entry.state for entry in bridge.entries().values()]
                == [State.FINALISED] * len(sent)
            )
        )
        found = rows_on(proxy.target_port)

    assert found == chatter(sent)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_frozen_link_is_noticed(bridge: "Bridge") -> None:
    """A link that swallows everything without an error does not hold the bridge for ever."""
    # Packed, these messages are too few bytes to be frozen in the middle.
    bridge.overrides["server.compression"] = "none"
    with bad_line(bridge) as proxy:
        bridge.drop("a.mcap", bridge.mcap_bytes("a" * 50, 100_000))
        bridge.await_state("a.mcap", State.SENDING)
        bridge.wait_for(lambda: proxy.forwarded_bytes > 1_000_000)
        proxy.freeze()
        bridge.wait_for(lambda: bridge.entries()["a.mcap"].state is not State.SENDING)
        proxy.thaw()
        proxy.cut()
        bridge.await_state("a.mcap", State.FINALISED)
        assert rows_on(proxy.target_port) == chatter({"a": 100_000})
