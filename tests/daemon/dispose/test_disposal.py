"""What becomes of sources: only what is whole, verified and unchanged is ever touched."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.bags import load_recording
from bridge.config import DisposalSettings
from bridge.daemon.dispose import disposal
from bridge.daemon.dispose.disposal import Source
from bridge.daemon.dispose.retention import Retained, due
from bridge.daemon.events.events import Disposed, Event, Troubled
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.watch.scan import look_at
from tests.daemon.platforms import chatter, rows_on
from tests.daemon.small_disks import fill, small_disk

if TYPE_CHECKING:
    from bridge.model import Recording
    from tests.daemon.conftest import Bridge


class Listener:
    def __init__(self) -> None:
        self.disposals: list[Disposed] = []
        self.troubles: list[Failure] = []

    def hear(self, event: Event) -> None:
        match event:
            case Troubled(failure=failure):
                self.troubles.append(failure)
            case Disposed():
                assert event.entry.state is State.DISPOSED
                self.disposals.append(event)
            case _:
                pass


def folder_recording(bridge: "Bridge", name: str) -> Path:
    """Drop a rosbag2 folder of two splits."""
    for number in (0, 1):
        bridge.drop(f"{name}/{name}_{number}.mcap", bridge.mcap_bytes(f"{name}{number}"))
    (bridge.watched / name / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    return bridge.watched / name


def source_of(recording: "Recording", watched: Path) -> Source:
    found = look_at(recording)
    assert found is not None
    return Source(recording=recording, watched=watched, signature=found.signature)


def test_sources_are_kept_by_default(bridge: "Bridge") -> None:
    """Without a choice nothing is touched."""
    path = bridge.drop("a.mcap")
    bridge.daemon().run_once()

    assert path.exists()
    assert bridge.entries()["a.mcap"].state is State.FINALISED


def test_embedded_server_keeps_whatever_is_configured(bridge: "Bridge") -> None:
    """With no platform configured the source is the only safe copy."""
    bridge.overrides |= {"server.host": "", "disposal.mode": "delete"}
    path = bridge.drop("a.mcap")
    bridge.daemon().run_once()

    assert path.exists()
    assert bridge.entries()["a.mcap"].state is State.FINALISED


def test_delete_removes_what_is_whole_and_nothing_else(bridge: "Bridge") -> None:
    """Complete recordings go; partial, parked and poisoned ones, and foreign files, stay."""
    bridge.overrides["disposal.mode"] = "delete"
    gone = [bridge.drop("a.mcap"), folder_recording(bridge, "drive")]
    stays = [bridge.drop(name) for name in ("torn_1.mcap", "rejected_1.mcap", "poison_1.mcap")]
    with_notes = folder_recording(bridge, "notes")
    stays.append(with_notes / "notes.txt")
    stays[-1].write_text("rain after 12:00")
    listener = Listener()
    bridge.daemon(listener).run_once()

    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stays)
    assert [path.name for path in with_notes.iterdir()] == ["notes.txt"]
    assert {made.entry.path for made in listener.disposals} == {*gone, with_notes}
    assert {made.mode for made in listener.disposals} == {"delete"}


def test_move_keeps_the_place_below_the_folder(bridge: "Bridge") -> None:
    """Moved recordings lie in the archive as they lay in the folder; taken names get a number."""
    archive = bridge.folder / "archive"
    bridge.overrides |= {"disposal.mode": "move", "disposal.archive_folder": str(archive)}
    bridge.drop("monday/a.mcap")
    folder_recording(bridge, "drive")
    (archive / "monday").mkdir(parents=True)
    (archive / "monday" / "a.mcap").write_text("in the way")
    bridge.daemon().run_once()

    assert sorted(str(path.relative_to(archive)) for path in archive.rglob("*.mcap")) == [
        "drive/drive_0.mcap",
        "drive/drive_1.mcap",
        "monday/a-1.mcap",
        "monday/a.mcap",
    ]
    assert (archive / "monday" / "a.mcap").read_text() == "in the way"
    assert not list(bridge.watched.rglob("*.mcap"))
    assert {entry.state for entry in bridge.entries().values()} == {State.DISPOSED}


def test_move_across_file_systems_copies_first(
    bridge: "Bridge", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a rename is impossible the copy is whole before the source goes."""
    archive = bridge.folder / "archive"
    archive.mkdir()
    path = folder_recording(bridge, "drive")
    recording = load_recording(path)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    rename = os.rename

    def refused(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if os.fstat(src_dir_fd).st_ino != os.fstat(dst_dir_fd).st_ino:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", refused)
    target = disposal.move(source_of(recording, bridge.watched), archive)

    assert {file.name: file.read_bytes() for file in target.iterdir()} == before
    assert not path.exists()
    assert [found.name for found in archive.iterdir()] == ["drive"]


def test_weaker_proof_than_configured_keeps_the_source(bridge: "Bridge") -> None:
    """A recording verified below the level of disposal stays where it is."""
    bridge.overrides |= {"disposal.mode": "delete", "disposal.verification": "readback"}
    path = bridge.drop("a.mcap")
    bridge.daemon().run_once()

    assert bridge.entries()["a.mcap"].verification == "counts"
    assert path.exists()


def test_source_that_changed_meanwhile_stays(bridge: "Bridge") -> None:
    """A file that is written again while its old content is sent is not deleted."""
    bridge.overrides["disposal.mode"] = "delete"
    path = bridge.drop("slow_1.mcap")
    with bridge.running():
        bridge.await_state("slow_1.mcap", State.SENDING)
        with path.open("ab") as stream:
            stream.write(b"more")
            stream.flush()
            (bridge.folder / "go").touch()
            bridge.wait_for(lambda: bridge.log("arrived"))
            bridge.wait_for(lambda: State.FINALISED in {entry.state for entry in _all(bridge)})
            assert path.exists()


def _all(bridge: "Bridge") -> list[Entry]:
    with Journal.read(bridge.state) as journal:
        return journal.recordings()


def test_disposal_that_a_kill_cut_short_is_finished(bridge: "Bridge") -> None:
    """A finalised recording that is still there after a restart is disposed of then."""
    path = bridge.drop("a.mcap")
    bridge.daemon().run_once()
    assert path.exists()
    bridge.overrides["disposal.mode"] = "delete"
    bridge.daemon().run_once()

    assert not path.exists()
    assert bridge.entries()["a.mcap"].state is State.DISPOSED


def test_recording_put_back_is_disposed_of_again(bridge: "Bridge") -> None:
    """The same content dropped again is not sent again, and goes the same way."""
    bridge.overrides["disposal.mode"] = "delete"
    content = bridge.mcap_bytes("drive", 5)
    with bridge.platform() as server:
        bridge.drop("drive.mcap", content)
        bridge.daemon().run_once()
        bridge.drop("again.mcap", content)
        bridge.daemon().run_once()
        arrived = rows_on(server.port)

    assert not list(bridge.watched.iterdir())
    assert arrived == chatter({"drive": 5})


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"retain_days": 2.5}, [1, 2]),
        ({"retain_days": 100}, []),
        ({"retain_count": 3}, [1]),
        ({"retain_count": 9}, []),
        ({"retain_days": 2.5, "retain_count": 3}, [1]),
    ],
)
def test_retention_keeps_by_age_and_number(choices: dict[str, float], expected: list[int]) -> None:
    """What is young or among the last stays; the oldest go first, now or when room is needed."""
    day_ns = 86_400 * 10**9
    sources = [
        Retained(entry_id=number, sent_ns=number * day_ns, size_bytes=10) for number in (4, 2, 1, 3)
    ]
    settings = DisposalSettings(mode="delete", **choices)

    over, spare = due(sources, settings, now_ns=5 * day_ns)
    assert over == expected
    assert over + spare == [1, 2, 3, 4]


def test_retained_sources_go_when_they_are_surplus(bridge: "Bridge") -> None:
    """With a number to retain, the last sent recordings stay in the folder."""
    bridge.overrides |= {"disposal.mode": "delete", "disposal.retain_count": 2}
    for number in range(4):
        path = bridge.drop(f"r{number}.mcap")
        os.utime(path, ns=(number, number))
    bridge.daemon().run_once()
    bridge.daemon().run_once()

    assert sorted(path.name for path in bridge.watched.iterdir()) == ["r2.mcap", "r3.mcap"]


def test_impossible_disposal_is_told_and_costs_nothing(bridge: "Bridge") -> None:
    """Where the archive cannot be written the recording stays, finalised, and somebody hears."""
    listener = Listener()
    (bridge.folder / "file").touch()
    archive = bridge.folder / "file" / "archive"
    bridge.overrides |= {"disposal.mode": "move", "disposal.archive_folder": str(archive)}
    path = bridge.drop("a.mcap")
    bridge.daemon(listener).run_once()

    assert path.exists()
    assert bridge.entries()["a.mcap"].state is State.FINALISED
    assert {failure.error for failure in listener.troubles} == {"DisposalFailed"}


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_move_onto_another_disk(bridge: "Bridge", tmp_path: Path, kind: str) -> None:
    """On a real second file system the copy is whole, and only then the source goes."""
    path = folder_recording(bridge, "drive") if kind == "folder" else bridge.drop("drive.mcap")
    files = path.iterdir() if kind == "folder" else [path]
    before = {file.name: file.read_bytes() for file in files}
    with small_disk(tmp_path / "archive", size_bytes=1 << 20) as archive:
        target = disposal.move(source_of(load_recording(path), bridge.watched), archive)
        found = {
            file.name: file.read_bytes()
            for file in (target.iterdir() if kind == "folder" else [target])
        }
        assert target.stat().st_dev != bridge.watched.stat().st_dev
        assert [one.name for one in archive.iterdir()] == [path.name]

    assert found == before
    assert not path.exists()


def test_archive_without_room_keeps_the_source(bridge: "Bridge", tmp_path: Path) -> None:
    """A copy that does not fit is told and costs nothing; with room the next sweep moves it."""
    listener = Listener()
    path = bridge.drop("a.mcap", bridge.mcap_bytes("x" * 200_000, 3))
    with small_disk(tmp_path / "archive", size_bytes=1 << 20) as archive:
        bridge.overrides |= {"disposal.mode": "move", "disposal.archive_folder": str(archive)}
        filler = fill(archive, leave_bytes=50_000)
        bridge.daemon(listener).run_once()
        assert path.exists()
        assert bridge.entries()["a.mcap"].state is State.FINALISED
        filler.unlink()
        bridge.daemon(listener).run_once()
        assert [one.name for one in archive.iterdir()] == ["a.mcap"]

    assert not path.exists()
    assert [failure.error for failure in listener.troubles] == ["DisposalFailed"]
    assert "No space left" in listener.troubles[0].message
    assert "make room" in listener.troubles[0].hint
