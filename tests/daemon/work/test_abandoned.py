"""What recordings that were given up have left on the platform is cleared, with real workers.

The platform is the real embedded server, in this process, so that a test can act at the very
moment at which it has done something.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import flight

from bridge.client import MosaicoClient, OnErrorPolicy
from bridge.daemon.journal.requests import retry
from bridge.daemon.journal.states import State
from bridge.daemon.work.outcome import DEATHS_MAX
from bridge.embedded.catalogue import Catalogue

if TYPE_CHECKING:
    from bridge.daemon.daemon import Daemon
    from bridge.daemon.journal.entry import Entry
    from tests.daemon.conftest import Bridge


@pytest.fixture
def daemons(bridge: "Bridge", monkeypatch: pytest.MonkeyPatch) -> "list[Daemon]":
    """Kill workers as soon as their sequence is there, before they can have heard of it.

    Returns:
        Empty; the daemon whose workers are to die is put into it.
    """
    create = Catalogue.add_sequence
    daemons: list[Daemon] = []
    killed: set[int] = set()

    def creating(catalogue: Catalogue, **facts: str) -> None:
        create(catalogue, **facts)
        if len(killed) < DEATHS_MAX:
            (daemon,) = daemons
            (pid,) = bridge.wait_for(lambda: pids_at_work(daemon) - killed)
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(Catalogue, "add_sequence", creating)
    return daemons


def pids_at_work(daemon: "Daemon") -> set[int]:
    return {worker.pid for worker in daemon.status.workers} if daemon.status is not None else set()


@contextlib.contextmanager
def running(bridge: "Bridge", daemons: "list[Daemon]") -> Iterator[MosaicoClient]:
    """Run a bridge whose workers are killed, and look at its platform."""
    with (
        bridge.platform() as server,
        bridge.running() as daemon,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        daemons.append(daemon)
        bridge.drop("a.mcap", bridge.mcap_bytes("a", 5))
        yield client


def quarantined_and_cleared(bridge: "Bridge") -> "Entry":
    """Wait until a recording was given up and nobody wants to clear anything any more."""
    bridge.await_state("a.mcap", State.QUARANTINED)
    bridge.wait_for(lambda: bridge.entries()["a.mcap"].upload is None)
    return bridge.entries()["a.mcap"]


@pytest.mark.parametrize("policy", list(OnErrorPolicy))
def test_worker_that_dies_on_creating_its_sequence_leaves_nothing(
    bridge: "Bridge", daemons: "list[Daemon]", policy: OnErrorPolicy
) -> None:
    """The sequence is cleared although nobody has ever heard that it was created."""
    bridge.overrides |= {"ingest.on_error": str(policy)}
    with running(bridge, daemons) as client:
        entry = quarantined_and_cleared(bridge)
        left = client.list_sequences()

    assert entry.deaths == DEATHS_MAX
    assert left == []
    assert "stays there" not in entry.reason


@pytest.mark.parametrize("failures", [2, 100])
def test_clearing_that_fails_is_tried_again(
    bridge: "Bridge", daemons: "list[Daemon]", monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """It succeeds in the end, or the recording tells what stays there and why."""
    bridge.overrides |= {"retry.attempts_max": 4}
    delete = Catalogue.delete_sequence
    failed: list[str] = []

    def deleting(catalogue: Catalogue, sequence: Any) -> None:
        given_up = bridge.entries()["a.mcap"].state is State.QUARANTINED
        if given_up and len(failed) < failures:
            failed.append(sequence.locator)
            raise flight.FlightInternalError("the disk is slow today")
        delete(catalogue, sequence)

    monkeypatch.setattr(Catalogue, "delete_sequence", deleting)
    with running(bridge, daemons) as client:
        entry = quarantined_and_cleared(bridge)
        left = client.list_sequences()

    assert len(failed) == min(failures, 4)
    assert bool(left) == (failures > 4)
    assert ("stays there: " in entry.reason) == (failures > 4)
    assert ("the disk is slow today" in entry.reason) == (failures > 4)


def test_recording_asked_for_again_waits_until_it_is_cleared(
    bridge: "Bridge", daemons: "list[Daemon]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the new try creates is not taken for remains by the worker that clears them."""
    bridge.overrides |= {"workers.count": 2}
    delete = Catalogue.delete_sequence
    begun, release = threading.Event(), threading.Event()

    def deleting(catalogue: Catalogue, sequence: Any) -> None:
        if bridge.entries()["a.mcap"].state is State.QUARANTINED:
            begun.set()
            assert release.wait(40)
        delete(catalogue, sequence)

    monkeypatch.setattr(Catalogue, "delete_sequence", deleting)
    with running(bridge, daemons) as client:
        assert begun.wait(40)
        retry(bridge.state, [bridge.entries()["a.mcap"].id])
        bridge.await_state("a.mcap", State.READY)
        (daemon,) = daemons
        scans = bridge.wait_for(lambda: daemon.status).watch.scans
        bridge.wait_for(lambda: daemon.status and daemon.status.watch.scans > scans + 2)
        held = bridge.entries()["a.mcap"].state
        release.set()
        entry = bridge.await_state("a.mcap", State.FINALISED)
        left = client.list_sequences()

    assert held is State.READY
    assert left == [entry.sequence]


def test_once_returns_when_all_is_cleared(bridge: "Bridge", daemons: "list[Daemon]") -> None:
    """Who runs it from a timer finds nothing unfinished on the platform afterwards."""
    bridge.drop("a.mcap", bridge.mcap_bytes("a", 5))
    with bridge.platform() as server:
        daemon = bridge.daemon()
        daemons.append(daemon)
        status = daemon.run_once()
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            left = client.list_sequences()

    assert status.counts == {"quarantined": 1}
    assert left == []
