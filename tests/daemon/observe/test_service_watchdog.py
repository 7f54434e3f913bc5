"""The watchdog of the service manager is fed by the daemon's real loop, and by nothing else."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from bridge.daemon import Event, ServiceNotifier, ServiceObserver
from bridge.daemon.events.events import Scanned
from bridge.daemon.journal.states import State
from bridge.daemon.watch import scan
from tests.daemon.conftest import ROOT, Bridge
from tests.daemon.settings_file import written
from tests.daemon.small_disks import slow_disk
from tests.daemon.test_parts import on_platform
from tests.waiting import wait_for

WATCHDOG_TIMEOUT_S = 0.3
# Several turns of a loop that looks into its folder every half second.
SILENCE_S = 2.0
PATIENCE_S = 40.0
# As slow as a worn memory card: what is copied takes a minute and a half.
SLOWLY_BYTES_PER_S = 96 << 10
MESSAGE_BYTES = 64 << 10
SLOW_PATIENCE_S = 300.0
SLOW_WATCHDOG_TIMEOUT_S = 10.0
FILES = 4000


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


class Manager:
    """A service manager that notes when it hears that the service lives."""

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self.heard_s: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        with self._socket:
            self._socket.bind(self.address)
            self._socket.settimeout(0.1)
            stop = threading.Event()
            thread = threading.Thread(target=self._listen, args=(stop,))
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()

    def _listen(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                if b"WATCHDOG=1" in self._socket.recv(65536):
                    self.heard_s.append(time.monotonic())

    def longest_silence_s(self, since_s: float, until_s: float) -> float:
        heard = [since_s, *(one for one in self.heard_s if since_s < one < until_s), until_s]
        return max(after - before for before, after in itertools.pairwise(heard))


def big_mcap(path: Path, number: int, messages: int) -> list[int]:
    """Write a recording that cannot be compressed, cold, and give the times in it."""
    times = [number * 1_000_000 + index for index in range(messages)]
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("wb") as stream:
        writer = McapWriter(stream, compression=CompressionType.NONE, chunk_size=1 << 20)
        writer.start(profile="ros2", library="")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/chatter", "cdr", schema)
        for stamp in times:
            text = os.urandom(MESSAGE_BYTES // 2).hex().encode() + b"\0"
            payload = b"\0\1\0\0" + len(text).to_bytes(4, "little") + text
            writer.add_message(channel, log_time=stamp, publish_time=stamp, data=payload)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say what it returns
        stream.flush()
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    draft.rename(path)
    return times


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_disk_that_makes_minutes_of_a_copy_feeds_the_watchdog(
    bridge: Bridge, tmp_path: Path
) -> None:
    """Copying into the archive, reading, hashing and listing on a disk that the kernel slows."""
    bridge.overrides |= {"disposal.archive_folder": str(tmp_path / "archive")}
    manager = Manager(tmp_path / "notify")
    with slow_disk(bridge.watched, size_bytes=48 << 20) as disk, bridge.platform() as server:
        sent = big_mcap(bridge.watched / "first.mcap", 1, 128)
        for number in range(FILES):
            (bridge.watched / f"note_{number}.txt").touch()
        bridge.daemon().run_once()
        assert bridge.entries()["first.mcap"].state is State.FINALISED
        disk.cool()

        bridge.overrides |= {"disposal.mode": "move"}
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": manager.address,
            "WATCHDOG_USEC": str(int(SLOW_WATCHDOG_TIMEOUT_S * 1e6)),
        }
        command = [sys.executable, "-m", "bridge", "run", "--config", str(written(bridge))]
        slowed = disk.read_slowly(SLOWLY_BYTES_PER_S, command)
        with (
            manager.listening(),
            subprocess.Popen(slowed, cwd=ROOT, env=environment) as process,
        ):
            try:
                bridge.wait_for(lambda: manager.heard_s)
                since_s = time.monotonic()
                gone = wait_patiently(bridge, "first.mcap", State.DISPOSED)
                copied_s = gone - since_s
                sent += big_mcap(bridge.watched / "second.mcap", 2, 32)
                until_s = wait_patiently(bridge, "second.mcap", State.DISPOSED)
            finally:
                process.terminate()
        assert sorted(on_platform(server.port).elements()) == sent

    assert copied_s > 60
    assert until_s - gone > 20
    assert manager.longest_silence_s(since_s, until_s) < SLOW_WATCHDOG_TIMEOUT_S
    assert {path.name for path in (tmp_path / "archive").iterdir()} == {"first.mcap", "second.mcap"}


def wait_patiently(bridge: Bridge, name: str, state: State) -> float:
    """Wait until a recording is in a state, and give the time."""
    wait_for(
        lambda: (entry := bridge.entries().get(name)) is not None and entry.state is state,
        patience_s=SLOW_PATIENCE_S,
    )
    return time.monotonic()
