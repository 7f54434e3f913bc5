"""On a disk that runs full the recorder goes on at the cost of what did not arrive, if told to."""

import contextlib
import itertools
import logging
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.config import load_settings
from bridge.daemon.dispose import disposal, disposer, emergency, remover, retention
from bridge.daemon.events.events import Disposed, Event, Observers, Troubled
from bridge.daemon.journal.entry import Failure
from bridge.daemon.journal.states import State
from bridge.daemon.observe.event_log import EventLog
from bridge.daemon.observe.metrics import Metrics
from bridge.errors import ConfigError
from tests.daemon.small_disks import fill, mounted_on_itself, small_disk

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

MEBIBYTE = 1 << 20


class Listener:
    def __init__(self) -> None:
        self.disposals: list[tuple[str, str, State]] = []
        self.troubles: list[Failure] = []

    def hear(self, event: Event) -> None:
        match event:
            case Disposed(entry=entry, mode=mode):
                self.disposals.append((entry.path.name, mode, entry.state))
            case Troubled(failure=failure):
                self.troubles.append(failure)
            case _:
                pass


@pytest.fixture
def disk(bridge: "Bridge") -> Iterator[Path]:
    """The watched folder, on a disk of 12 MiB."""
    bridge.watched.rmdir()
    with small_disk(bridge.watched, size_bytes=12 * MEBIBYTE) as folder:
        yield folder


def record(bridge: "Bridge", name: str) -> Path:
    """Write a recording of a mebibyte onto the watched disk itself."""
    path = bridge.watched / name
    # The text stands in the header as it is, and in the chunk compressed to its half.
    noise = random.Random(name).randbytes(MEBIBYTE // 3).hex()
    path.write_bytes(bridge.mcap_bytes(noise, 1))
    return path


def test_oldest_recordings_that_did_not_arrive_make_room(
    bridge: "Bridge", disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Below the watermark the oldest go, just enough of them, each told loudly and counted."""
    caplog.set_level(logging.INFO)
    (bridge.folder / "offline").touch()
    bridge.overrides |= {
        "disposal.emergency": True,
        "disposal.emergency_free_min_bytes": 3 * MEBIBYTE,
    }
    for number in range(6):
        record(bridge, f"r{number}.mcap")
    listener, metrics = Listener(), Metrics()
    growing = (bridge.watched / "open.mcap").open("wb")
    with growing, bridge.running(Observers((listener, metrics, EventLog()))):
        growing.write(bridge.mcap_bytes("open", 100))
        growing.flush()
        for number in range(6):
            bridge.await_state(f"r{number}.mcap", State.READY)
        assert not listener.disposals
        filler = fill(disk, leave_bytes=MEBIBYTE)
        bridge.await_state("r1.mcap", State.VANISHED)
        bridge.wait_for(lambda: shutil.disk_usage(disk).free >= 3 * MEBIBYTE)
        filler.unlink()
        (bridge.folder / "offline").unlink()
        for number in range(2, 6):
            if bridge.entries()[f"r{number}.mcap"].state is not State.VANISHED:
                bridge.await_state(f"r{number}.mcap", State.FINALISED)
        assert (bridge.watched / "open.mcap").exists()

    gone = [name for name, _, _ in listener.disposals]
    assert gone == [f"r{number}.mcap" for number in range(len(gone))]
    assert len(gone) in {2, 3}
    assert {(mode, state) for _, mode, state in listener.disposals} == {
        ("emergency", State.VANISHED)
    }
    assert [failure.error for failure in listener.troubles] == ["EmergencyDeletion"] * len(gone)
    loud = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert sum("deleted to make room" in line for line in loud) == len(gone)
    assert sum("not whole on the platform" in line for line in loud) == len(gone)
    shown = metrics.exposition().decode()
    assert f'mosaico_bridge_disposals_total{{mode="emergency"}} {len(gone)}.0' in shown
    assert "deleted in an emergency" in bridge.entries()["r0.mcap"].reason


def test_what_arrived_goes_before_what_did_not(bridge: "Bridge", disk: Path) -> None:
    """With sources kept, those that are on the platform make room first, whatever their age."""
    record(bridge, "rejected_1.mcap")
    record(bridge, "torn_1.mcap")
    record(bridge, "good_1.mcap")
    with bridge.running():
        bridge.await_state("rejected_1.mcap", State.REJECTED)
        bridge.await_state("torn_1.mcap", State.PARTIAL)
        bridge.await_state("good_1.mcap", State.FINALISED)
    # Between two runs: a sweep in the middle of the filling would let one more of them go.
    fill(disk, leave_bytes=MEBIBYTE * 3 // 2)
    bridge.overrides |= {
        "disposal.emergency": True,
        "disposal.emergency_free_min_bytes": 3 * MEBIBYTE,
    }
    listener = Listener()
    with bridge.running(listener):
        bridge.await_state("good_1.mcap", State.DISPOSED)
        bridge.wait_for(lambda: len(listener.disposals) == 2)

    assert listener.disposals == [
        ("good_1.mcap", "emergency", State.DISPOSED),
        ("torn_1.mcap", "emergency", State.PARTIAL),
    ]
    assert (bridge.watched / "rejected_1.mcap").exists()


def test_without_the_setting_nothing_that_did_not_arrive_is_deleted(
    bridge: "Bridge", disk: Path
) -> None:
    """A full disk alone deletes only what arrived, whatever the free space wanted."""
    bridge.overrides |= {"disposal.mode": "delete", "disposal.free_min_bytes": 100 * MEBIBYTE}
    (bridge.folder / "offline").touch()
    for name in ("a.mcap", "b.mcap"):
        record(bridge, name)
    listener = Listener()
    with bridge.running(listener) as daemon:
        bridge.await_state("b.mcap", State.READY)
        fill(disk)
        scans = bridge.wait_for(lambda: daemon.status).watch.scans
        bridge.wait_for(lambda: daemon.status and daemon.status.watch.scans > scans + 2)

    assert not listener.disposals
    assert {entry.state for entry in bridge.entries().values()} == {State.READY}
    assert sorted(path.name for path in disk.glob("*.mcap")) == ["a.mcap", "b.mcap"]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"server.host": ""}, "needs a platform"),
        ({"disposal.mode": "delete", "disposal.free_min_bytes": 10}, "must be less than"),
    ],
)
def test_emergency_that_cannot_be_meant_is_refused(
    bridge: "Bridge", choices: dict[str, object], words: str
) -> None:
    """With the embedded server there is no other copy; and what arrived has to go first."""
    with pytest.raises(ConfigError, match=words):
        load_settings(overrides=bridge.overrides | {"disposal.emergency": True} | choices)


@pytest.mark.parametrize("arrived", [False, True])
def test_deletion_that_makes_no_room_stops_after_the_first(
    bridge: "Bridge", disk: Path, monkeypatch: pytest.MonkeyPatch, *, arrived: bool
) -> None:
    """Files that somebody holds open free nothing: one goes, it is told, the others stay.

    When the room comes after all, the next one may go.
    """
    monkeypatch.setattr(remover, "ROOM_PATIENCE_S", 0.3)
    paths = [record(bridge, f"r{number}.mcap") for number in range(4)]
    if arrived:
        bridge.daemon().run_once()
        bridge.overrides |= {
            "disposal.mode": "delete",
            "disposal.retain_days": 7,
            "disposal.free_min_bytes": 3 * MEBIBYTE,
        }
    else:
        (bridge.folder / "offline").touch()
        bridge.overrides |= {
            "disposal.emergency": True,
            "disposal.emergency_free_min_bytes": 3 * MEBIBYTE,
        }
    held = [path.open("rb") for path in paths]
    fill(disk, leave_bytes=MEBIBYTE)
    listener = Listener()
    with bridge.running(listener) as daemon:
        bridge.wait_for(lambda: any("made no room" in one.message for one in listener.troubles))
        scans = bridge.wait_for(lambda: daemon.status).watch.scans
        bridge.wait_for(lambda: daemon.status and daemon.status.watch.scans > scans + 3)
        assert len(list(disk.glob("r*.mcap"))) == 3
        assert len(listener.disposals) == 1
        for stream in held:
            stream.close()
        bridge.wait_for(lambda: len(listener.disposals) > 1)


def small_recordings(bridge: "Bridge", disk: Path) -> list[Path]:
    paths = [disk / f"r{number}.mcap" for number in range(6)]
    for path in paths:
        path.write_bytes(bridge.mcap_bytes(path.stem, 5))
    return paths


@contextlib.contextmanager
def recorder_at_work(disk: Path) -> Iterator[None]:
    """Let a file grow to 64 KiB and begin again, all the time."""
    over = threading.Event()

    def write() -> None:
        for number in itertools.count():
            if over.wait(0.01):
                return
            (disk / ".being-written").write_bytes(bytes((number % 8) << 13))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_room_that_a_recorder_takes_at_once_is_no_reason_to_stop(
    bridge: "Bridge", disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small recordings go on leaving although what they free is written full in that moment."""
    small_recordings(bridge, disk)
    bridge.daemon().run_once()
    bridge.overrides |= {
        "disposal.mode": "delete",
        "disposal.retain_days": 7,
        "disposal.free_min_bytes": 3 * MEBIBYTE,
    }
    filler = fill(disk, leave_bytes=MEBIBYTE)

    def delete(source: disposal.Source) -> None:
        disposal.delete(source)
        with filler.open("ab") as stream:
            stream.write(bytes(128 << 10))

    monkeypatch.setattr(remover, "delete", delete)
    listener = Listener()
    with recorder_at_work(disk), bridge.running(listener):
        bridge.wait_for(lambda: len(listener.disposals) == 6)
    assert not listener.troubles
    assert not list(disk.glob("r*.mcap"))


@pytest.mark.parametrize(("busy", "left"), [(False, 5), (True, 2)])
def test_small_recordings_that_make_no_room_stop(
    bridge: "Bridge", disk: Path, monkeypatch: pytest.MonkeyPatch, *, busy: bool, left: int
) -> None:
    """On a quiet disk the first says it; beside a recorder that may be chance, but not often."""
    # Long enough for a recorder that has to wait for a processor.
    monkeypatch.setattr(remover, "ROOM_PATIENCE_S", 4.0 if busy else 0.3)
    monkeypatch.setattr(remover, "SMALL_HIDDEN_MAX", 3)
    held = [path.open("rb") for path in small_recordings(bridge, disk)]
    (bridge.folder / "offline").touch()
    bridge.overrides |= {
        "disposal.emergency": True,
        "disposal.emergency_free_min_bytes": 3 * MEBIBYTE,
    }
    filler = fill(disk, leave_bytes=MEBIBYTE)

    def delete(source: disposal.Source) -> None:
        disposal.delete(source)
        with filler.open("ab") as stream:
            stream.write(bytes(128 << 10 if busy else 0))

    monkeypatch.setattr(remover, "delete", delete)
    listener = Listener()
    with recorder_at_work(disk) if busy else contextlib.nullcontext(), bridge.running(listener):
        bridge.wait_for(lambda: any("made no room" in one.message for one in listener.troubles))
        # What the recorder takes and gives back is no sign that room has come.
        time.sleep(2.0 if busy else 0.0)
        assert len(list(disk.glob("r*.mcap"))) == left
    for stream in held:
        stream.close()


@pytest.mark.parametrize("taken", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_disk_that_stays_full_is_tried_again_where_a_recorder_may_have_taken_the_room(
    bridge: "Bridge", disk: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    """A recorder takes the room of the first at once and stands still; the next is seen to help.

    Where deleting really makes none on a full disk, a third shows it, and the others stay.
    """
    monkeypatch.setattr(remover, "ROOM_PATIENCE_S", 0.3)
    monkeypatch.setattr(retention, "STILL_S", 0.3)
    paths = [record(bridge, f"r{number}.mcap") for number in range(5)]
    (bridge.folder / "offline").touch()
    bridge.overrides |= {
        "disposal.emergency": True,
        "disposal.emergency_free_min_bytes": MEBIBYTE,
    }
    held = [path.open("rb") for path in paths if not taken]
    fill(disk)

    def delete(source: disposal.Source) -> None:
        disposal.delete(source)
        if taken and source.recording.path == paths[0]:
            fill(disk)

    monkeypatch.setattr(remover, "delete", delete)
    listener = Listener()
    left = 3 if taken else 2
    with bridge.running(listener) as daemon:
        bridge.wait_for(lambda: len(listener.disposals) == 5 - left)
        bridge.turns(daemon, 20)
        assert len(list(disk.glob("r*.mcap"))) == left
    for stream in held:
        stream.close()
    told = [one.message for one in listener.troubles if "made no room" in one.message]
    assert len(told) == (1 if taken else 3)


def test_retention_stops_where_it_makes_no_room_and_remembers_it(
    bridge: "Bridge", disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Surplus that frees nothing costs one source, also over restarts; then the next ones go."""
    monkeypatch.setattr(remover, "ROOM_PATIENCE_S", 0.3)
    paths = [record(bridge, f"r{number}.mcap") for number in range(4)]
    bridge.daemon().run_once()
    held = [path.open("rb") for path in paths]
    bridge.overrides |= {"disposal.mode": "delete", "disposal.retain_count": 1}
    listener = Listener()
    for _ in range(2):
        bridge.daemon(listener).run_once()
        assert len(list(disk.glob("r*.mcap"))) == 3
    assert [one.error for one in listener.troubles] == ["DisposalFailed"]
    assert "made no room" in listener.troubles[0].message
    for stream in held:
        stream.close()
    bridge.daemon(listener).run_once()

    assert [path.name for path in disk.glob("r*.mcap")] == ["r3.mcap"]


@pytest.mark.parametrize("mode", ["delete", "emergency"])
def test_what_cannot_be_deleted_does_not_keep_the_others(
    bridge: "Bridge", disk: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The oldest cannot be removed, in a row longer than what goes together: the next ones go."""
    monkeypatch.setattr(disposer, "DISPOSED_PER_BATCH_MAX", 2)
    monkeypatch.setattr(emergency, "DELETED_PER_BATCH_MAX", 2)
    paths = [record(bridge, f"r{number}.mcap") for number in range(5)]
    if mode == "delete":
        bridge.daemon().run_once()
        bridge.overrides["disposal.mode"] = "delete"
    else:
        (bridge.folder / "offline").touch()
        bridge.overrides |= {
            "disposal.emergency": True,
            "disposal.emergency_free_min_bytes": 3 * MEBIBYTE,
        }
        fill(disk, leave_bytes=MEBIBYTE)
    listener = Listener()
    with contextlib.ExitStack() as mounted:
        for path in paths[:3]:
            # Nobody removes a name on which something is mounted, root included.
            mounted.enter_context(mounted_on_itself(path))
        with bridge.running(listener):
            bridge.wait_for(lambda: not paths[3].exists() and not paths[4].exists())
            bridge.wait_for(lambda: len(listener.troubles) >= 3)
        assert all(path.exists() for path in paths[:3])


def test_hard_links_are_not_deleted_for_room(bridge: "Bridge", disk: Path) -> None:
    """Where other names link to the files no room would come, so nothing goes and it is told."""
    (bridge.folder / "offline").touch()
    bridge.overrides |= {
        "disposal.emergency": True,
        "disposal.emergency_free_min_bytes": 3 * MEBIBYTE,
    }
    (disk / ".backup").mkdir()
    for number in range(3):
        path = record(bridge, f"r{number}.mcap")
        (disk / ".backup" / path.name).hardlink_to(path)
    last = record(bridge, "unlinked.mcap")
    fill(disk, leave_bytes=MEBIBYTE * 5 // 2)
    listener = Listener()
    with bridge.running(listener):
        bridge.wait_for(lambda: listener.disposals)
        bridge.wait_for(lambda: len(listener.troubles) >= 4)

    assert [name for name, _, _ in listener.disposals] == [last.name]
    assert sorted(path.name for path in disk.glob("r*.mcap")) == ["r0.mcap", "r1.mcap", "r2.mcap"]
    assert sum("makes no room" in one.message for one in listener.troubles) == 3
