"""Events come or do not come; all recordings are found all the same."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from watchdog.events import FileSystemEvent

from bridge.daemon.journal.states import State
from bridge.daemon.watch.folder_scans import FolderScans
from bridge.daemon.watch.inotify import FolderEvents
from tests.daemon.watch.desk import HandClock

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge
    from tests.daemon.watch.desk import Desk

HERE = Path(__file__).parents[1]
QUEUE_LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")
FILES = 40


STORM = """
import os, sys
for name in os.listdir(sys.argv[1]):
    os.link(f"{sys.argv[1]}/{name}", f"{sys.argv[2]}/{name}")
"""


@contextlib.contextmanager
def short_queue() -> Iterator[None]:
    """Let every inotify instance that is made now hold two events; all others keep theirs."""
    usual = QUEUE_LIMIT.read_text()
    QUEUE_LIMIT.write_text("2")
    try:
        yield
    finally:
        QUEUE_LIMIT.write_text(usual)


@pytest.mark.skipif(
    not os.access(QUEUE_LIMIT, os.W_OK), reason="the kernel's limit of events cannot be set"
)
def test_events_lost_in_an_overflow_cost_only_time(
    bridge: "Bridge", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's queue overflows while files appear in a storm; a scan finds every one."""
    heard: set[str] = set()

    class Listening(FolderEvents):
        def on_any_event(self, event: FileSystemEvent) -> None:
            heard.add(Path(os.fsdecode(event.src_path)).name)
            super().on_any_event(event)

    monkeypatch.setattr("bridge.daemon.watch.folder_scans.FolderEvents", Listening)
    drafts = bridge.folder / "drafts"
    drafts.mkdir()
    for number in range(FILES):
        (drafts / f"{number}.mcap").write_bytes(bridge.mcap_bytes(str(number)))
    with contextlib.ExitStack() as stack:
        with short_queue():
            daemon = stack.enter_context(bridge.running())
            bridge.wait_for(lambda: daemon.status is not None and daemon.status.watch.scans)
        # One process makes all links in one go, so that the queue of two cannot be emptied between.
        subprocess.run([sys.executable, "-c", STORM, str(drafts), str(bridge.watched)], check=True)
        for number in range(FILES):
            bridge.await_state(f"{number}.mcap", State.FINALISED)
    assert len(heard & {f"{number}.mcap" for number in range(FILES)}) < FILES, "no event was lost"
    assert len(bridge.log("arrived")) == FILES


LIMITED = """
import sys, threading, time
from pathlib import Path
from bridge.config import load_settings
from bridge.daemon import Daemon

settings = load_settings(overrides={
    "watch.folder": sys.argv[1], "state.folder": sys.argv[2], "server.host": "platform",
    "watch.settle_s": 0.2, "watch.rescan_interval_s": 0.3,
})
daemon = Daemon(settings, server=("platform", 1), worker_command=(sys.executable, sys.argv[3]))
running = threading.Thread(target=daemon.run)
running.start()
while (status := daemon.status) is None or status.counts != {"finalised": 12} or (
    status.watch.scans < 5
):
    time.sleep(0.1)
daemon.stop()
running.join()
print(status.watch.events, status.watch.readable, status.counts, status.watch.problem)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
@pytest.mark.parametrize(
    "limit",
    ["max_inotify_instances", pytest.param("max_inotify_watches", marks=pytest.mark.slow)],
)
def test_without_watches_left_the_folder_is_polled(bridge: "Bridge", limit: str) -> None:
    """With the kernel's watches used up all recordings are found, and the status says so."""
    for number in range(12):
        bridge.drop(f"{number}/a{number}.mcap")
    most = 4 if limit == "max_inotify_watches" else 0
    command = f'echo {most} > /proc/sys/user/{limit} && exec "$@"'
    done = subprocess.run(
        [
            "unshare", "--user", "--map-root-user", "sh", "-c", command, "sh",
            sys.executable, "-c", LIMITED, str(bridge.watched), str(bridge.state),
            str(HERE / "scripted_worker.py"),
        ],
        capture_output=True, text=True, check=False,
        env={**os.environ, "MOSAICO_TEST_FOLDER": str(bridge.folder)},
    )  # fmt: skip
    if "unshare" in done.stderr or "cannot create" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("False True {'finalised': 12}")
    assert ("some folders only" if most else "no events, only the periodic scan") in done.stdout


def test_looks_that_nobody_asked_for_become_rare_where_they_take_long(desk: "Desk") -> None:
    """With events a look of 50 ms comes every 25 s and never more rarely than each minute."""

    class SlowLook(HandClock):
        took_s = 0.0

        def monotonic_s(self) -> float:
            self.now_s += self.took_s
            return self.now_s

    clock = SlowLook()
    scans = FolderScans(desk.watched_folders, tracker=desk.tracker, clock=clock, wake=lambda: None)
    with contextlib.closing(scans):
        intervals = []
        for clock.took_s in (0.0, 0.05, 5.0):
            scans.scan()
            intervals.append(scans.interval_s)
        assert scans.status.events
        assert intervals == pytest.approx([10.0, 25.0, 60.0])
