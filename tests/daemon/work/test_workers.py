"""Worker processes: limited, watched, side by side, one always warm, replaced when they die."""

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.daemon.journal.states import State
from bridge.daemon.work.main import NICENESS
from bridge.daemon.work.outcome import OUT_OF_MEMORY
from tests.daemon.processes import children, runs

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


def workers() -> list[int]:
    """List the worker processes of this process's daemon."""
    return [pid for pid in children(os.getpid()) if runs(pid, "scripted_worker")]


def test_worker_is_limited_and_nice(bridge: "Bridge") -> None:
    """Private memory is bounded by the kernel, crashes leave no core, others go first."""
    bridge.overrides["workers.memory_limit_bytes"] = 700 << 20
    bridge.drop("limits_1.mcap")
    niceness = os.nice(0)
    with bridge.running():
        bridge.await_state("limits_1.mcap", State.FINALISED)

    (line,) = bridge.log("limits")
    soft, data, core, nice = (int(word) for word in line.split())

    # What was mapped before is not counted; a little more may be by the time it looks.
    assert 700 << 20 < soft <= data + (700 << 20)
    assert data + (650 << 20) < soft
    assert (core, nice) == (0, min(19, niceness + NICENESS))


def test_smallest_limit_is_enough_for_many_topics(bridge: "Bridge") -> None:
    """What libraries and threads reserve and never touch does not count: a real worker works."""
    bridge.overrides["workers.memory_limit_bytes"] = 256 << 20
    with bridge.platform():
        bridge.drop("a.mcap", bridge.mcap_bytes("a" * 100, messages=300, topics=80))
        bridge.daemon().run_once()

    entry = bridge.entries()["a.mcap"]
    assert (entry.state, entry.attempts, entry.deaths) == (State.FINALISED, 0, 0)


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_worker_loads_no_pandas(bridge: "Bridge") -> None:
    """Where somebody else has installed it, it would cost the first recording 0.2 s, and 33 MiB."""
    with bridge.platform(), bridge.running():
        bridge.drop("a.mcap", bridge.mcap_bytes("a", 5))
        bridge.await_state("a.mcap", State.FINALISED)
        maps = [
            Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
            for pid in children(os.getpid())
            if runs(pid, "bridge.daemon.work.job")
        ]

    assert maps
    for text in maps:
        assert "/pyarrow/" in text
        assert "/pandas/" not in text


@pytest.mark.parametrize("how", ["shared", "threads"])
def test_want_of_memory_names_the_setting(bridge: "Bridge", how: str) -> None:
    """Also where the kernel's limit does not count it, and where a thread finds no room."""
    bridge.overrides["workers.memory_limit_bytes"] = 300 << 20
    bridge.drop(f"{how}_1.mcap")
    with bridge.running():
        entry = bridge.await_state(f"{how}_1.mcap", State.QUARANTINED)

    assert entry.failure is not None
    assert entry.failure.error == OUT_OF_MEMORY
    assert f"set workers.memory_limit_bytes to {600 << 20} or more" in entry.failure.hint
    assert "memory" in entry.reason


def test_recordings_are_sent_side_by_side(bridge: "Bridge") -> None:
    """As many as there are workers are in work at once, and no more."""
    bridge.overrides["workers.count"] = 2
    for number in range(3):
        bridge.drop(f"slow_{number}_of_three.mcap")
    with bridge.running() as daemon:
        bridge.wait_for(lambda: daemon.status and len(daemon.status.workers) == 2)
        bridge.wait_for(lambda: len(bridge.log("attempts")) == 2)
        bridge.turns(daemon)
        states = sorted(entry.state for entry in bridge.entries().values())
        (bridge.folder / "go").touch()
        for number in range(3):
            bridge.await_state(f"slow_{number}_of_three.mcap", State.FINALISED)

    assert states == [State.READY, State.SENDING, State.SENDING]
    assert sorted(bridge.log("arrived")) == [f"slow_{number}_of_three" for number in range(3)]


def test_spare_worker_is_warm_before_it_is_needed(bridge: "Bridge") -> None:
    """A process waits before the first recording, and another beside one that works."""
    bridge.overrides["workers.count"] = 2
    with bridge.running():
        (first,) = bridge.wait_for(workers)
        bridge.drop("slow_1.mcap")
        bridge.await_state("slow_1.mcap", State.SENDING)
        both = bridge.wait_for(lambda: len(found := workers()) == 2 and found)
        (bridge.folder / "go").touch()
        bridge.await_state("slow_1.mcap", State.FINALISED)

    assert first in both


def test_idle_worker_that_dies_is_replaced(bridge: "Bridge") -> None:
    """A spare that is killed while it waits costs nothing; the next recording finds another."""
    with bridge.running():
        (first,) = bridge.wait_for(workers)
        os.kill(first, signal.SIGKILL)
        bridge.wait_for(lambda: (found := workers()) and first not in found)
        bridge.drop("a.mcap")
        entry = bridge.await_state("a.mcap", State.FINALISED)

    assert (entry.attempts, entry.deaths) == (0, 0)


def test_reading_is_progress(bridge: "Bridge") -> None:
    """A worker that reads on and on without a word, as when it salvages, is not stuck."""
    stall_s = bridge.overrides["workers.stall_timeout_s"] = 1.0
    bridge.drop("scan_1.mcap")
    with bridge.running() as daemon:
        bridge.wait_for(lambda: daemon.status and daemon.status.workers)
        time.sleep(2.5 * stall_s)
        (bridge.folder / "go").touch()
        entry = bridge.await_state("scan_1.mcap", State.FINALISED)

    assert (entry.attempts, entry.deaths) == (0, 0)
    assert len(bridge.log("attempts")) == 1
