"""The notices to the service manager, received by a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.daemon.systemd import ServiceNotifier


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
        assert notifier.enabled
        assert notifier.ready("watching /data")
        assert received(manager) == ["READY=1", "STATUS=watching /data"]
        assert notifier.alive()
        assert received(manager) == ["WATCHDOG=1"]
        assert notifier.status("2 waiting")
        assert received(manager) == ["STATUS=2 waiting"]
        assert notifier.reloading()
        assert received(manager) == ["RELOADING=1", "MONOTONIC_USEC=7654"]
        assert notifier.extend_timeout(2.5)
        assert received(manager) == ["EXTEND_TIMEOUT_USEC=2500000"]
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
        assert not notifier.enabled
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
