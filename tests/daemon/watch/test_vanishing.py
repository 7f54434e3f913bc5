"""What disappears for a moment, or with its whole disk, is not taken for deleted."""

import random
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.watch.watched_folder import MOUNTS_FILE
from tests.daemon.platforms import chatter, rows_on
from tests.daemon.small_disks import small_disk
from tests.daemon.test_parts import Field
from tests.daemon.test_splits import metadata

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

# A folder that comes back before the library has dropped its watch.
COMES_BACK = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.mark.parametrize("restart", [False, True])
def test_disk_that_is_unmounted_is_no_mass_deletion(bridge: "Bridge", *, restart: bool) -> None:
    """The empty folder that is left says nothing, also to a bridge that starts then."""
    (bridge.folder / "offline").touch()
    bridge.watched.rmdir()
    with small_disk(bridge.watched, size_bytes=1 << 20):
        for name in ("a", "b"):
            (bridge.watched / f"{name}.mcap").write_bytes(bridge.mcap_bytes(name))
        with bridge.running() as daemon:
            bridge.await_state("a.mcap", State.READY)
            bridge.await_state("b.mcap", State.READY)
            if not restart:
                subprocess.run(["umount", "--lazy", str(bridge.watched)], check=True)
                _stays(bridge, daemon)
        if restart:
            subprocess.run(["umount", "--lazy", str(bridge.watched)], check=True)
            with bridge.running() as daemon:
                _stays(bridge, daemon)
        # The fixture unmounts once more.
        subprocess.run(["mount", "-t", "tmpfs", "none", str(bridge.watched)], check=True)
        with bridge.running() as daemon:
            bridge.wait_for(lambda: daemon.status and daemon.status.watch.scans > 1)
            assert daemon.status is not None
            assert daemon.status.watch.readable
    assert (bridge.state / MOUNTS_FILE).exists()


def _stays(bridge: "Bridge", daemon: object) -> None:
    scans = bridge.wait_for(lambda: daemon.status).watch.scans  # type: ignore[attr-defined]
    bridge.wait_for(lambda: daemon.status.watch.scans > scans + 4)  # type: ignore[attr-defined]
    assert {entry.state for entry in bridge.entries().values()} == {State.READY}
    status = daemon.status.watch  # type: ignore[attr-defined]
    assert not status.readable
    assert "nothing is mounted" in status.problem


@COMES_BACK
@pytest.mark.parametrize(("unit", "restart"), [("recording", True), ("split", False)])
def test_folder_that_is_away_while_it_is_opened_and_back_at_the_next_look(
    bridge: "Bridge", unit: str, *, restart: bool
) -> None:
    """Moving a folder changes nothing of its files; they are sent although they look as before."""
    bridge.overrides["ingest.unit"] = unit
    name = "moving" if unit == "recording" else "moving_0.mcap"
    draft = bridge.folder / "moving"
    draft.mkdir()
    (draft / "moving_0.mcap").write_bytes(bridge.mcap_bytes("x"))
    (draft / "metadata.yaml").write_text(metadata(["moving_0.mcap"]))
    draft.rename(bridge.watched / "moving")
    with bridge.running():
        if not restart:
            bridge.await_state(name, State.FINALISED)
        bridge.wait_for(lambda: State.VANISHED in _states_of(bridge, name))
    with bridge.running():
        bridge.await_state(name, State.FINALISED)
    assert bridge.entries()[name].attempts == 0
    assert State.VANISHED in bridge.story(name)


def _states_of(bridge: "Bridge", name: str) -> list[State]:
    return bridge.story(name) if name in bridge.entries() else []


MINUTES = [pytest.param(60.0, seed, marks=pytest.mark.slow) for seed in (5, 6, 7)]


@pytest.mark.parametrize(("seconds", "seed"), [(2.0, 5), *MINUTES])
def test_files_that_come_and_go_at_any_moment(bridge: "Bridge", seconds: float, seed: int) -> None:
    """Moved out and in again between any look and any opening, everything arrives, once."""
    names = [f"r{number}" for number in range(6)]
    away = bridge.folder / "away"
    away.mkdir()
    stop = threading.Event()
    chance = random.Random(seed)

    def shuffle() -> None:
        while not stop.is_set():
            name = f"{chance.choice(names)}.mcap"
            here, there = bridge.watched / name, away / name
            one, other = (here, there) if here.exists() else (there, here)
            one.rename(other)
            time.sleep(chance.uniform(0, 0.01))
        for name in names:
            if (away / f"{name}.mcap").exists():
                (away / f"{name}.mcap").rename(bridge.watched / f"{name}.mcap")

    with bridge.platform() as server:
        for name in names:
            bridge.drop(f"{name}.mcap", bridge.mcap_bytes(name, 5))
        mover = threading.Thread(target=shuffle)
        mover.start()
        with bridge.running():
            time.sleep(seconds)
            stop.set()
            mover.join()
            whole = chatter(dict.fromkeys(names, 5))
            bridge.wait_for(lambda: _rows_so_far(server.port) == whole)
            bridge.wait_for(lambda: _settled(bridge))
        assert rows_on(server.port) == whole

    with Journal.read(bridge.state) as journal:
        entries = journal.recordings()
    assert {entry.state for entry in entries} <= {State.FINALISED, State.VANISHED}
    assert all(entry.attempts == 0 for entry in entries)


@pytest.mark.slow
@COMES_BACK
@pytest.mark.parametrize("unit", ["recording", "split"])
@pytest.mark.parametrize(("extension", "seed"), [("mcap", 1), ("db3", 2), ("bag", 3)])
def test_splits_that_come_and_go_at_any_moment(
    bridge: "Bridge", extension: str, seed: int, unit: str
) -> None:
    """The same with recordings of several files: some move whole, some file by file."""
    bridge.overrides["ingest.unit"] = unit
    away = bridge.folder / "away"
    chance = random.Random(seed)
    with bridge.platform() as server:
        field = Field(bridge, server.port, extension)
        for number in range(9):
            folder = f"drive{number // 3}"
            field.put(number, f"{folder}/{folder}_{number % 3}")
        field.describe("drive0", "drive0_0", "drive0_1", "drive0_2")
        movable = [bridge.watched / "drive0", *sorted((bridge.watched / "drive1").iterdir())]
        movable += sorted((bridge.watched / "drive2").iterdir())
        for folder in ("drive1", "drive2"):
            (away / folder).mkdir(parents=True)

        def shuffle(give_up_at_s: float) -> None:
            while time.monotonic() < give_up_at_s:
                here = chance.choice(movable)
                there = away / here.relative_to(bridge.watched)
                one, other = (here, there) if here.exists() else (there, here)
                one.rename(other)
                time.sleep(chance.uniform(0, 0.02))
            for here in movable:
                if not here.exists():
                    (away / here.relative_to(bridge.watched)).rename(here)

        with bridge.running():
            shuffle(time.monotonic() + 20)
            try:
                bridge.wait_for(lambda: field.arrived(*range(9)))
            except AssertionError:
                with Journal.read(bridge.state) as journal:
                    stories = [
                        f"{entry.path.relative_to(bridge.watched)} {entry.state}: {entry.reason}"
                        for entry in journal.recordings()
                    ]
                raise AssertionError("\n".join(stories)) from None
            bridge.wait_for(lambda: not field.states().keys() - {"finalised", "vanished"})
        assert field.arrived(*range(9))

    with Journal.read(bridge.state) as journal:
        assert all(entry.attempts == 0 for entry in journal.recordings())


def _settled(bridge: "Bridge") -> bool:
    with Journal.read(bridge.state) as journal:
        return set(journal.counts()) <= {State.FINALISED, State.VANISHED}


def _rows_so_far(port: int) -> object:
    try:
        return rows_on(port)
    except AssertionError:
        # One is not finished yet.
        return None
