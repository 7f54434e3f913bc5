"""Files that are held: what was judged is what every pass reads, whatever becomes of the names."""

import os
import threading
import time
from pathlib import Path

import pytest

from bridge.errors import NotARecordingError, RecordingChangedError, RecordingVanishedError
from bridge.files import HeldFiles, open_regular


def content(path: Path) -> bytes:
    descriptor = open_regular(path)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def test_replaced_and_deleted_files_are_what_they_were(tmp_path: Path) -> None:
    """Every pass opens the same file, also after its name went to another or to nobody."""
    path, draft = tmp_path / "a.mcap", tmp_path / "draft"
    path.write_bytes(b"judged")
    with HeldFiles([path, path.with_name("a.mcap-wal")]) as held:
        draft.write_bytes(b"another")
        draft.rename(path)
        (tmp_path / "a.mcap-wal").write_bytes(b"came later")
        assert content(path) == content(path) == b"judged"
        with pytest.raises(RecordingVanishedError):
            content(path.with_name("a.mcap-wal"))
        path.unlink()
        assert content(path) == b"judged"
        held.check()
    with pytest.raises(RecordingVanishedError):
        content(path)


def test_file_that_is_written_is_noticed(tmp_path: Path) -> None:
    """What was sent is worthless then."""
    path = tmp_path / "a.mcap"
    path.write_bytes(b"judged")
    with HeldFiles([path]) as held:
        with path.open("ab") as stream:
            stream.write(b" and more")
        with pytest.raises(RecordingChangedError):
            held.check()


def test_link_instead_of_the_file_is_refused_for_all_passes(tmp_path: Path) -> None:
    """Also when the file itself is there again later."""
    path = tmp_path / "a.mcap"
    path.symlink_to(tmp_path / "secret")
    with HeldFiles([path]):
        path.unlink()
        path.write_bytes(b"the file")
        with pytest.raises(NotARecordingError):
            content(path)


@pytest.mark.parametrize("seconds", [1.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_folder_swapped_for_a_link_is_never_read(tmp_path: Path, seconds: float) -> None:
    """A parent folder that links elsewhere for a moment lets nobody read what is there."""
    watched, secret = tmp_path / "watched", tmp_path / "secret"
    drive, link, aside = watched / "drive", watched / "link", watched / "aside"
    for folder, text in ((drive, b"mine"), (secret, b"secret")):
        folder.mkdir(parents=True)
        (folder / "drive_0.mcap").write_bytes(text)
    link.symlink_to(secret)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            drive.rename(aside)
            link.rename(drive)
            drive.rename(link)
            aside.rename(drive)

    swapper = threading.Thread(target=swap)
    swapper.start()
    read = refused = 0
    end_s = time.monotonic() + seconds
    try:
        while time.monotonic() < end_s:
            path = drive / "drive_0.mcap"
            with HeldFiles([path], start=watched):
                try:
                    assert content(path) == b"mine"
                    read += 1
                except (RecordingVanishedError, NotARecordingError):
                    refused += 1
    finally:
        stop.set()
        swapper.join()

    assert read
    assert refused
