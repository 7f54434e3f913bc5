"""Starting, stopping, asking things of a running daemon, and how soon it acts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.daemon.events.events import Event, Troubled
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.requests import forget, retry
from bridge.daemon.journal.states import State
from bridge.daemon.observe.explain import explain
from bridge.errors import JournalError, UsageError

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


def test_draining_finishes_what_is_in_work(bridge: "Bridge") -> None:
    """A stop lets a running ingest end, and takes nothing new meanwhile."""
    bridge.drop("slow_1.mcap")
    with bridge.running() as daemon:
        bridge.await_state("slow_1.mcap", State.SENDING)
        bridge.drop("a.mcap")
        daemon.stop()
        time.sleep(0.5)
        (bridge.folder / "go").touch()
    states = {name: entry.state for name, entry in bridge.entries().items()}

    assert states["slow_1.mcap"] is State.FINALISED
    assert states.get("a.mcap") not in {State.SENDING, State.FINALISED}


@pytest.mark.parametrize("drain", [True, False])
def test_stop_ends_in_time_and_costs_no_attempt(bridge: "Bridge", *, drain: bool) -> None:
    """What does not finish within the deadline, or at once without one, is queued again."""
    bridge.overrides["workers.drain_timeout_s"] = 0.5
    bridge.drop("slow_1.mcap")
    with bridge.running() as daemon:
        bridge.await_state("slow_1.mcap", State.SENDING)
        began_s = time.monotonic()
        daemon.stop(drain=drain)
    took_s = time.monotonic() - began_s
    entry = bridge.entries()["slow_1.mcap"]

    assert (entry.state, entry.attempts, entry.deaths) == (State.READY, 0, 0)
    assert (0.5 if drain else 0.0) <= took_s < 5.0


def test_signal_drains_and_a_second_one_does_not(bridge: "Bridge") -> None:
    """SIGTERM waits for the work in hand; the second one ends it at once, cleanly."""
    bridge.drop("slow_1.mcap")
    script = f"""
import sys
from bridge.config import load_settings
from bridge.daemon.daemon import Daemon
settings = load_settings(overrides={bridge.overrides!r})
worker = (sys.executable, {str(Path(__file__).parent / "scripted_worker.py")!r})
Daemon(settings, server=("platform", 1), worker_command=worker).run()
"""
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ)
    try:
        bridge.await_state("slow_1.mcap", State.SENDING)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == 0
    finally:
        process.kill()
        process.wait()

    assert bridge.entries()["slow_1.mcap"].state is State.READY


def test_second_daemon_on_the_same_state_is_refused(bridge: "Bridge") -> None:
    """Two bridges on one state folder would undo each other's work."""
    with bridge.running() as daemon:
        bridge.wait_for(lambda: daemon.status)
        with pytest.raises(JournalError, match="another bridge"):
            bridge.daemon().run_once()


@pytest.mark.parametrize("running", [True, False])
def test_requests_are_carried_out(bridge: "Bridge", *, running: bool) -> None:
    """Retry and forget work through the journal, with and without a running daemon."""
    bridge.drop("refused_1.mcap")
    bridge.drop("rejected_1.mcap")
    bridge.drop("good_1.mcap")
    (bridge.folder / "let-in").touch()
    with bridge.running():
        rejected = bridge.await_state("rejected_1.mcap", State.REJECTED)
        good = bridge.await_state("good_1.mcap", State.FINALISED)
        bridge.await_state("refused_1.mcap", State.FINALISED)
        if running:
            _ask(bridge, rejected, good)
            bridge.wait_for(lambda: len(bridge.log("attempts")) >= 5)
    if not running:
        _ask(bridge, rejected, good)
        with bridge.running():
            bridge.wait_for(lambda: len(bridge.log("attempts")) >= 5)
    attempts = [line.split()[0] for line in bridge.log("attempts")]

    assert attempts.count("rejected_1") == 2
    assert attempts.count("good_1") == 2


def _ask(bridge: "Bridge", rejected: Entry, good: Entry) -> None:
    retry(bridge.state, [rejected.id])
    forget(bridge.state, [good.id])

    def answers() -> list[str]:
        with Journal.read(bridge.state) as journal:
            return [request.answer for request in journal.requests(pending=False)]

    bridge.wait_for(lambda: len(answers()) == 2 and all(answers()))
    assert answers()[0] == "it is in the queue again"
    assert answers()[1].startswith("forgotten")


def test_request_for_an_unknown_recording_is_refused(bridge: "Bridge") -> None:
    """Nothing is asked of a recording that the journal does not know."""
    bridge.daemon().run_once()
    with pytest.raises(UsageError, match="no recording 99"):
        retry(bridge.state, [99])


def test_recording_arrives_soon_after_it_was_closed(bridge: "Bridge") -> None:
    """With events and a lease the scan interval and the settling time do not matter."""
    bridge.overrides["watch.rescan_interval_s"] = 60.0
    bridge.overrides["watch.settle_s"] = 60.0
    with bridge.running() as daemon:
        bridge.wait_for(lambda: daemon.status and daemon.status.gate.reached)
        began_s = time.monotonic()
        with (bridge.watched / "a.mcap").open("wb") as stream:
            stream.write(bridge.mcap_bytes("a"))
        bridge.await_state("a.mcap", State.FINALISED)
        took_s = time.monotonic() - began_s

    assert took_s < 5.0


def test_missing_folder_is_told_once_and_healed(bridge: "Bridge") -> None:
    """Without its folder the daemon lives, says so once, and goes on when it appears."""
    troubles: list[Failure] = []

    class Listener:
        def hear(self, event: Event) -> None:
            if isinstance(event, Troubled):
                troubles.append(event.failure)

    bridge.watched.rmdir()
    with bridge.running(Listener()) as daemon:
        bridge.wait_for(lambda: daemon.status and daemon.status.watch.scans >= 3)
        assert daemon.status is not None
        assert not daemon.status.watch.readable
        bridge.watched.mkdir()
        bridge.drop("a.mcap")
        bridge.await_state("a.mcap", State.FINALISED)
        # Made between the watch and the look of one scan, it gets its watch at the next.
        bridge.wait_for(lambda: daemon.status and daemon.status.watch.events)

    assert len(troubles) == 1


def test_folder_made_again_is_watched_again(bridge: "Bridge") -> None:
    """A root that is deleted and recreated, or replaced by another, is noticed."""
    with bridge.running():
        bridge.drop("a.mcap")
        bridge.await_state("a.mcap", State.FINALISED)
        bridge.watched.rename(bridge.folder / "away")
        bridge.watched.mkdir()
        bridge.drop("b.mcap")
        bridge.await_state("b.mcap", State.FINALISED)

    assert bridge.entries()["a.mcap"].state is State.FINALISED


def test_folder_without_events_is_polled(bridge: "Bridge", monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no event arrives (network mounts, exhausted watches) the scan finds everything."""

    def exhausted(*_: object) -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr("watchdog.observers.inotify.InotifyEmitter.on_thread_start", exhausted)
    with bridge.running() as daemon:
        bridge.wait_for(lambda: daemon.status and daemon.status.watch.scans)
        bridge.drop("a.mcap")
        bridge.await_state("a.mcap", State.FINALISED)
        assert daemon.status is not None
        assert not daemon.status.watch.events
        assert "inotify" in daemon.status.watch.problem


def test_path_is_explained(bridge: "Bridge") -> None:
    """`explain` names the rule, what it waits for, and the story so far."""
    open_path, cut = bridge.drop("open.mcap"), bridge.drop("cut.mcap", bridge.mcap_bytes("c")[:-9])
    bridge.overrides["watch.stale_s"] = 1000.0
    done = bridge.drop("a.mcap")
    with bridge.running(), open_path.open("ab"):
        bridge.await_state("a.mcap", State.FINALISED)
        bridge.await_state("cut.mcap", State.SETTLING)
        explained = {
            path.name: explain(path, bridge.settings)
            for path in (open_path, cut, done, bridge.folder / "draft.txt", bridge.folder)
        }

    summaries = {name: explanation.summary for name, explanation in explained.items()}
    assert "open-for-writing" in summaries["open.mcap"]
    assert "no-proper-end" in summaries["cut.mcap"]
    assert "looked at again in" in summaries["cut.mcap"]
    assert "finalised" in summaries["a.mcap"]
    assert [step.after for step in explained["a.mcap"].story][-1] is State.FINALISED
    assert not explained["draft.txt"].watched
    assert "there is nothing at this path" in summaries["draft.txt"]
    assert explained["a.mcap"].as_json()["rule"] == "closed"
