"""The watchdog of the service manager is fed by the daemon's real loop, and by nothing else."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest

from bridge.daemon import Event, ServiceNotifier, ServiceObserver
from bridge.daemon.events.events import Scanned
from bridge.daemon.journal.states import State
from bridge.daemon.watch import scan
from tests.daemon.conftest import Bridge

WATCHDOG_TIMEOUT_S = 0.3
# Several turns of a loop that looks into its folder every half second.
SILENCE_S = 2.0
PATIENCE_S = 40.0


class Obstacle(ServiceObserver):
    """What feeds the manager, with something that can hang in the middle of a turn."""

    def __init__(self, notifier: ServiceNotifier) -> None:
        super().__init__(notifier)
        self.passable = threading.Event()
        self.passable.set()
        self.reached = threading.Event()

    def hear(self, event: Event) -> None:
        super().hear(event)
        if isinstance(event, Scanned) and not self.passable.is_set():
            self.reached.set()
            self.passable.wait(PATIENCE_S)


def fed(manager: socket.socket, during_s: float) -> int:
    """Count how often the manager is told that the loop lives, for a while."""
    count, end_s = 0, time.monotonic() + during_s
    while (left_s := end_s - time.monotonic()) > 0:
        manager.settimeout(left_s)
        try:
            count += manager.recv(65536) == b"WATCHDOG=1"
        except TimeoutError:
            break
    return count


def test_a_stuck_loop_stops_feeding_the_watchdog(bridge: Bridge, tmp_path: Path) -> None:
    """Turn after turn feeds it; while one turn hangs nothing does; going on feeds it again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = ServiceNotifier(manager.getsockname(), watchdog_timeout_s=WATCHDOG_TIMEOUT_S)
        obstacle = Obstacle(notifier)
        with notifier, bridge.running(obstacle):
            assert fed(manager, SILENCE_S)
            obstacle.passable.clear()
            assert obstacle.reached.wait(PATIENCE_S)
            fed(manager, 0.1)

            silence = fed(manager, SILENCE_S)
            obstacle.passable.set()

            assert silence == 0
            assert fed(manager, SILENCE_S)


def test_folder_that_takes_for_ever_to_list_feeds_the_watchdog(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server that does not answer holds up what is in it, not the loop; nothing is gone."""
    answers = threading.Event()
    answers.set()
    listing = scan._listing

    def slowly(folder: Path) -> int:
        answers.wait(PATIENCE_S)
        return listing(folder)

    monkeypatch.setattr(scan, "_listing", slowly)
    bridge.drop("a.mcap")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = ServiceNotifier(manager.getsockname(), watchdog_timeout_s=WATCHDOG_TIMEOUT_S)
        with notifier, bridge.running(ServiceObserver(notifier)) as daemon:
            bridge.await_state("a.mcap", State.FINALISED)
            answers.clear()
            bridge.drop("b.mcap")
            bridge.turns(daemon, 2)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                manager.settimeout(0.0)
                while manager.recv(65536):
                    pass
            assert fed(manager, SILENCE_S) > 3
            assert set(bridge.entries()) == {"a.mcap"}
            answers.set()
            bridge.await_state("b.mcap", State.FINALISED)
            assert bridge.entries()["a.mcap"].state is State.FINALISED
