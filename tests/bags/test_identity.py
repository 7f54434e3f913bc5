"""The identity of a recording is its content."""

import os
import shutil
from pathlib import Path

import pytest

from bridge.bags import find_recordings, fingerprint, load_recording
from bridge.errors import RecordingVanishedError
from tests.bags.mcap import mcap_files as made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "drive"
    path.mkdir()
    messages = made.sample(4001)
    for number, split in enumerate((messages[:2000], messages[2000:])):
        made.write_with_library(path / f"drive_{number}.mcap", split)
    return path


def test_survives_copies_renames_times_and_metadata(folder: Path, tmp_path: Path) -> None:
    """Where the files are, when they were written and what metadata.yaml says has no part in it."""
    before = fingerprint(load_recording(folder))
    assert len(before) == 64
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 1}")
    for number in range(2):
        (copy / f"drive_{number}.mcap").rename(copy / f"other_{number}.mcap")
        os.utime(copy / f"other_{number}.mcap", (0, 0))
    assert fingerprint(load_recording(copy)) == before
    assert [fingerprint(recording) for recording in find_recordings(tmp_path)] == [before] * 2


@pytest.mark.parametrize("change", ["first byte", "last byte", "longer", "split gone", "swapped"])
def test_changes_with_the_content(folder: Path, change: str) -> None:
    """Another begin, end, size, number or order of files is another recording."""
    before = fingerprint(load_recording(folder))
    first, second = folder / "drive_0.mcap", folder / "drive_1.mcap"
    data = bytearray(first.read_bytes())
    match change:
        case "first byte":
            data[20] ^= 1
        case "last byte":
            data[-20] ^= 1
        case "longer":
            data += b"\x00"
    first.write_bytes(data)
    if change == "split gone":
        second.unlink()
    if change == "swapped":
        first.rename(folder / "x")
        second.rename(first)
        (folder / "x").rename(second)
    assert fingerprint(load_recording(folder)) != before


def test_file_that_vanished_is_said(folder: Path) -> None:
    """A file that is gone by now is an error with its path."""
    recording = load_recording(folder)
    (folder / "drive_1.mcap").unlink()
    with pytest.raises(RecordingVanishedError):
        fingerprint(recording)
