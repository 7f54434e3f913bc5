"""Only a recording's own files are moved or deleted, whatever else is, or comes, beside them."""

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.bags import load_recording
from bridge.daemon.dispose import disposal
from bridge.daemon.dispose.disposal import Source
from bridge.daemon.watch.scan import look_at
from tests.daemon.small_disks import small_disk

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


def folder_recording(bridge: "Bridge", name: str) -> Path:
    for number in (0, 1):
        bridge.drop(f"{name}/{name}_{number}.mcap", bridge.mcap_bytes(f"{name}{number}"))
    (bridge.watched / name / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    return bridge.watched / name


def source_of(path: Path, watched: Path) -> Source:
    recording = load_recording(path)
    found = look_at(recording)
    assert found is not None
    return Source(recording=recording, watched=watched, signature=found.signature)


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("mode", ["move", "delete", "quarantine"])
@pytest.mark.parametrize("disk", ["same", "other"])
def test_other_files_in_the_folder_stay(
    bridge: "Bridge", tmp_path: Path, mode: str, disk: str
) -> None:
    """Notes, a file that is being written, and another recording's folder stay where they are."""
    if disk == "other" and mode == "delete":
        pytest.skip("nothing is moved")
    path = folder_recording(bridge, "drive")
    source = source_of(path, bridge.watched)
    (path / "notes.txt").write_text("rain")
    (path / "camera").mkdir()
    (path / "camera" / "never_sent.mcap").write_bytes(b"not sent")
    (path / "growing.mcap.active").write_bytes(b"being written")
    archive = tmp_path / "archive"

    def dispose() -> None:
        if mode == "delete":
            disposal.delete(source)
        elif mode == "move":
            disposal.move(source, archive)
        else:
            disposal.quarantine(source, archive, {"why": "test"})

    if disk == "other":
        with small_disk(archive, size_bytes=1 << 20):
            dispose()
            moved = below(archive)
    else:
        dispose()
        moved = below(archive) if archive.exists() else []

    assert below(path) == [
        "camera",
        "camera/never_sent.mcap",
        "growing.mcap.active",
        "metadata.yaml",
        "notes.txt",
    ]
    if mode != "delete":
        assert [name for name in moved if name.endswith(".mcap")] == [
            "drive/drive_0.mcap",
            "drive/drive_1.mcap",
        ]


def test_watched_folder_itself_never_goes(bridge: "Bridge") -> None:
    """A metadata.yaml in the watched root makes no recording of it that could be removed whole."""
    bridge.overrides["disposal.mode"] = "delete"
    bridge.drop("a.mcap")
    (bridge.watched / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    bridge.daemon().run_once()

    assert bridge.watched.is_dir()
    assert not (bridge.watched / "a.mcap").exists()
    assert (bridge.watched / "metadata.yaml").exists()


def test_file_that_took_the_place_of_what_was_sent_stays(bridge: "Bridge") -> None:
    """What looks other than when it was identified is not what was sent."""
    path = bridge.drop("drive.mcap")
    source = source_of(path, bridge.watched)
    bridge.drop("drive.mcap", bridge.mcap_bytes("the next drive"))

    for dispose in (disposal.delete, lambda one: disposal.move(one, bridge.folder / "archive")):
        with pytest.raises(disposal.SourceChangedError):
            dispose(source)
    assert path.exists()
    assert not below(bridge.folder / "archive")


def swapping(folder: Path, elsewhere: Path, stop: threading.Event) -> None:
    """Put a link to another folder where a folder is, and back, again and again."""
    aside, link = folder.with_name("aside"), folder.with_name("link")
    link.symlink_to(elsewhere)
    while not stop.is_set():
        folder.rename(aside)
        link.rename(folder)
        folder.rename(link)
        aside.rename(folder)


@pytest.mark.parametrize("seconds", [1.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_folder_swapped_for_a_link_gives_nothing_away(bridge: "Bridge", seconds: float) -> None:
    """Whatever a parent folder links to meanwhile, what is there is neither moved nor deleted."""
    content = bridge.mcap_bytes("drive")
    drive = bridge.drop("drive/drive_0.mcap", content).parent
    recording = load_recording(drive / "drive_0.mcap")
    secret = bridge.folder / "secret" / "drive_0.mcap"
    secret.parent.mkdir()
    secret.write_bytes(content)
    archive = bridge.folder / "archive"
    # Open, it is the real folder whatever its name is just now.
    real = os.open(drive, os.O_RDONLY | os.O_DIRECTORY)
    stop = threading.Event()
    swapper = threading.Thread(target=swapping, args=(drive, secret.parent, stop))
    swapper.start()
    gone = refused = 0
    end_s = time.monotonic() + seconds
    try:
        while time.monotonic() < end_s:
            found = look_at(recording, lstat=lambda path: os.stat(path.name, dir_fd=real))
            assert found is not None
            source = Source(recording=recording, watched=bridge.watched, signature=found.signature)
            try:
                if gone % 2:
                    disposal.delete(source)
                else:
                    disposal.move(source, archive)
            except OSError:
                refused += 1
                continue
            gone += 1
            assert secret.read_bytes() == content
            handle = os.open("drive_0.mcap", os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=real)
            os.write(handle, content)
            os.close(handle)
    finally:
        stop.set()
        swapper.join()
        os.close(real)

    assert gone
    assert refused
    assert secret.read_bytes() == content
