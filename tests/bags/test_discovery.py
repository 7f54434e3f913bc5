"""Finding recordings under a folder by names alone."""

import os
from pathlib import Path

import pytest

from bridge.bags import find_recordings, load_recording
from bridge.errors import RecordingVanishedError
from tests.bags.mcap.mcap_files import SHARED

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"no recordings in {SHARED}")


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(root: Path, *, recursive: bool = True) -> dict[str, list[str]]:
    return {
        str(recording.path.relative_to(root)): [file.path.name for file in recording.files]
        for recording in find_recordings(root, recursive=recursive)
    }


@needs_shared
def test_finds_what_a_person_would_count() -> None:
    """Each folder and each lone file among real recordings is one recording."""
    recordings = find_recordings(SHARED)
    assert {recording.path.name for recording in recordings} == {
        entry.name for entry in SHARED.iterdir() if entry.name != "README.md"
    }
    for recording in recordings:
        loaded = load_recording(recording.path)
        assert (recording.name, recording.files) == (loaded.name, loaded.files)


def test_joins_splits_and_keeps_others_apart(tmp_path: Path) -> None:
    """Folders with metadata, folders of a killed recorder, lone splits and lone files."""
    touch(tmp_path, "drive/drive_0.mcap", "drive/drive_1.mcap", "drive/metadata.yaml")
    touch(tmp_path, "killed/killed_0.mcap", "killed/killed_1.mcap")
    touch(tmp_path, "mixed/a_0.mcap", "mixed/a_10.mcap", "mixed/a_9.mcap", "mixed/b.db3")
    touch(tmp_path, "lone.bag", "packed.mcap.zstd", "packed.db3.zstd", "UPPER.MCAP")
    touch(tmp_path, "deep/er/still/x.mcap", "notes.txt", "metadata.json")
    assert found(tmp_path) == {
        "drive": ["drive_0.mcap", "drive_1.mcap"],
        "killed": ["killed_0.mcap", "killed_1.mcap"],
        "mixed/a_0.mcap": ["a_0.mcap", "a_9.mcap", "a_10.mcap"],
        "mixed/b.db3": ["b.db3"],
        "lone.bag": ["lone.bag"],
        "packed.mcap.zstd": ["packed.mcap.zstd"],
        "packed.db3.zstd": ["packed.db3.zstd"],
        "UPPER.MCAP": ["UPPER.MCAP"],
        "deep/er/still/x.mcap": ["x.mcap"],
    }


def test_not_recursive_stays_at_the_top(tmp_path: Path) -> None:
    """Only the folder itself is looked at when asked so."""
    touch(tmp_path, "a.mcap", "sub/b.mcap")
    assert found(tmp_path, recursive=False) == {"a.mcap": ["a.mcap"]}


def test_watch_folder_is_not_taken_for_a_killed_recording(tmp_path: Path) -> None:
    """Splits directly in the folder that is searched are named by file, not by that folder."""
    root = tmp_path / "drive"
    touch(root, "drive_0.mcap", "drive_1.mcap")
    assert found(root) == {"drive_0.mcap": ["drive_0.mcap", "drive_1.mcap"]}


def test_stranger_in_a_folder_with_metadata_is_found_too(tmp_path: Path) -> None:
    """A file of another name beside a recorder's splits is a recording of its own."""
    touch(tmp_path, "drive/drive_0.mcap", "drive/other.mcap", "drive/metadata.yaml")
    assert found(tmp_path) == {
        "drive": ["drive_0.mcap"],
        "drive/other.mcap": ["other.mcap"],
    }


@pytest.mark.parametrize(
    "name",
    [
        "x.bag.active",
        "x.mcap.tmp",
        "x.mcap.part",
        "x.mcap.1a2b3c4d.partial",
        ".x.mcap.AbC123",
        ".x.mcap",
        ".~tmp~/x.mcap",
        ".syncthing.x.mcap.tmp",
        "~syncthing~x.mcap.tmp",
        "x.db3-wal",
        "x.db3-shm",
        "x.db3-journal",
        "x.mcap.crdownload",
        "x.mcap.filepart",
        "x.mcap~",
        "._x.mcap",
        ".nfs0001.mcap",
        "lost+found/x.mcap",
        ".hidden/x.mcap",
        "copying.tmp/x.mcap",
    ],
)
def test_unfinished_names_are_passed_over(tmp_path: Path, name: str) -> None:
    """What recorders and copying programs have not finished is not a recording yet."""
    touch(tmp_path, name)
    assert found(tmp_path) == {}


@pytest.mark.timeout(10)
def test_odd_entries_are_passed_over(tmp_path: Path) -> None:
    """Symlinks to files and folders, FIFOs and folders named like bags are not files."""
    touch(tmp_path, "real/a.mcap", "elsewhere/b.mcap")
    root = tmp_path / "real"
    (root / "link.mcap").symlink_to(tmp_path / "elsewhere" / "b.mcap")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "folder.mcap").mkdir()
    os.mkfifo(root / "fifo.mcap")
    assert found(root) == {"a.mcap": ["a.mcap"]}


def test_absent_folder_is_said(tmp_path: Path) -> None:
    """A watch folder that is not there is an error, not an empty result."""
    with pytest.raises(RecordingVanishedError):
        find_recordings(tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_forbidden_folder_is_passed_over(tmp_path: Path) -> None:
    """A folder that may not be entered hides itself, not the others."""
    touch(tmp_path, "a.mcap", "closed/b.mcap")
    (tmp_path / "closed").chmod(0)
    try:
        assert found(tmp_path) == {"a.mcap": ["a.mcap"]}
    finally:
        (tmp_path / "closed").chmod(0o700)
