"""The notices to the service manager, received by a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.daemon.events.events import Stopped, Ticked
from bridge.daemon.events.status import Gate, GateStatus, WatchStatus
from bridge.daemon.observe.systemd import ServiceNotifier, ServiceObserver, status_line
from tests.daemon.observe.situations import status, worker


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that plays the service manager, named by `manager.getsockname()`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def received(manager: socket.socket) -> list[str]:
    return manager.recv(65536).decode().split("\n")


def test_life_of_a_service(manager: socket.socket) -> None:
    """Start, watchdog, status, reload and stop arrive as the keys systemd knows."""
    with ServiceNotifier(manager.getsockname(), monotonic_ns=lambda: 7_654_321) as notifier:
        assert notifier.ready("watching /data")
        assert received(manager) == ["READY=1", "STATUS=watching /data"]
        assert notifier.alive()
        assert received(manager) == ["WATCHDOG=1"]
        assert notifier.status("2 waiting")
        assert received(manager) == ["STATUS=2 waiting"]
        assert notifier.reloading()
        assert received(manager) == ["RELOADING=1", "MONOTONIC_USEC=7654"]
        assert notifier.stopping("draining")
        assert received(manager) == ["STOPPING=1", "STATUS=draining"]


def test_status_cannot_forge_other_notices(manager: socket.socket) -> None:
    """Line breaks and undecodable bytes in a file name stay inside the status text."""
    with ServiceNotifier(manager.getsockname()) as notifier:
        notifier.status("sending evil\nSTOPPING=1\udcff" + "x" * 1000)
    (line,) = received(manager)
    assert line.startswith("STATUS=sending evil STOPPING=1\\udcffxxx")
    assert len(line) < 500


def test_abstract_socket_is_reached() -> None:
    """A leading @ names a socket in the abstract namespace."""
    name = f"mosaico-bridge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        with ServiceNotifier(f"@{name}") as notifier:
            assert notifier.ready()
        assert received(listener) == ["READY=1"]


def test_without_a_manager_nothing_happens() -> None:
    """Outside systemd every call does nothing and says so."""
    with ServiceNotifier.from_environment({}) as notifier:
        assert not notifier.ready()
        assert notifier.watchdog_timeout_s is None
        assert notifier.watchdog_interval_s is None


def test_vanished_manager_is_no_error(manager: socket.socket, tmp_path: Path) -> None:
    """When the socket is gone, or the notifier closed, notices are dropped without an error."""
    notifier = ServiceNotifier(manager.getsockname())
    (tmp_path / "notify").unlink()
    assert not notifier.alive()
    notifier.close()
    notifier.close()
    assert not notifier.alive()


def test_full_queue_does_not_block_the_loop(manager: socket.socket) -> None:
    """A manager that does not read costs a notice, never a blocked loop."""
    with ServiceNotifier(manager.getsockname()) as notifier:
        assert any(not notifier.alive() for _ in range(10_000))


@pytest.mark.parametrize(
    ("variables", "timeout_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_counts_only_for_the_watched_process(
    variables: dict[str, str], timeout_s: float | None
) -> None:
    """The watchdog timeout is taken where it is a number meant for this process."""
    with ServiceNotifier.from_environment(variables, pid=42) as notifier:
        assert notifier.watchdog_timeout_s == timeout_s
        if timeout_s is not None:
            assert notifier.watchdog_interval_s == pytest.approx(10.0)


def test_daemon_feeds_the_manager(manager: socket.socket) -> None:
    """Ready comes after the first scan, the watchdog a few times per timeout, status on change."""
    now_s = 0.0
    notifier = ServiceNotifier(manager.getsockname(), watchdog_timeout_s=30)
    with notifier:
        observer = ServiceObserver(notifier, monotonic=lambda: now_s)
        unscanned = WatchStatus(folder=Path("/data"))
        observer.hear(Ticked(status=status(watch=unscanned)))
        assert received(manager) == ["WATCHDOG=1"]
        assert received(manager) == ["STATUS=0 sending, 0 waiting, 0 on the platform"]
        observer.hear(Ticked(status=status()))
        assert received(manager) == ["READY=1"]
        now_s = 10.0
        observer.hear(Ticked(status=status()))
        assert received(manager) == ["WATCHDOG=1"]
        now_s = 15.0
        observer.hear(Ticked(status=status(counts={"finalised": 2, "ready": 1, "quarantined": 1})))
        assert received(manager) == [
            "STATUS=0 sending, 1 waiting, 2 on the platform, 1 need attention"
        ]
        observer.hear(Stopped(status=status(stopping=True)))
        assert received(manager) == [
            "STOPPING=1", "STATUS=stopping, 0 sending, 0 waiting, 0 on the platform",
        ]  # fmt: skip


def test_status_line_says_embedded_and_offline() -> None:
    """What an operator must not overlook is in the line of `systemctl status`."""
    gate = GateStatus(gate=Gate.OFFLINE, reason="nobody answers")
    line = status_line(status(embedded=True, gate=gate, workers=(worker(),)))
    assert line.startswith("EMBEDDED server, offline: nobody answers, 1 sending")
