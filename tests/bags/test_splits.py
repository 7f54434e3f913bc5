"""Recordings taken apart into their storage files."""

from pathlib import Path

import pytest

from bridge.bags import find_recordings, fingerprint, load_recording, load_split, split_up
from bridge.errors import EmptyRecordingError, NotARecordingError, RecordingVanishedError

MAGIC = b"\x89MCAP0\r\n"


def put(path: Path, content: bytes = MAGIC) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_found_and_loaded_parts_are_the_same(tmp_path: Path) -> None:
    """What a scan sees by names alone is what opening one of the files gives."""
    for index in (0, 1, 11):
        put(tmp_path / "drive" / f"rec_{index}.mcap", MAGIC + bytes([index]))
    (tmp_path / "drive" / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 1}")
    (whole,) = find_recordings(tmp_path)
    parts = split_up(whole)
    loaded = [load_split(part.path) for part in parts]

    assert [part.name for part in parts] == ["drive_00000", "drive_00001", "drive_00011"]
    assert [part.name for part in loaded] == [part.name for part in parts]
    assert [part.split for part in loaded] == [part.split for part in parts]
    assert [part.split.followed for part in loaded if part.split] == [True, True, False]
    assert all(part.hints == {"version": 1} for part in loaded)
    assert len({fingerprint(part) for part in loaded} | {fingerprint(whole)}) == 4


def test_lone_splits_are_parts_by_their_names(tmp_path: Path) -> None:
    """Splits of ROS 1 side by side are parts of one recording, files of other formats are not."""
    first = put(tmp_path / "night_7.bag", b"#ROSBAG V2.0\n" + bytes(84))
    put(tmp_path / "night_8.bag", b"#ROSBAG V2.0\n" + bytes(84))
    other = put(tmp_path / "day_2.mcap")
    alone = put(tmp_path / "calm.mcap")

    split = load_split(first).split
    assert split is not None
    assert (split.recording, split.index, split.followed) == ("night", 7, True)
    assert load_split(other) == load_recording(other)
    assert load_split(alone) == load_recording(alone)


def test_plain_twin_stands_for_the_split(tmp_path: Path) -> None:
    """Of a file and its compressed form only the plain one is given while both are there."""
    put(tmp_path / "drive" / "drive_0.mcap")
    put(tmp_path / "drive" / "drive_0.mcap.zstd", b"\x28\xb5\x2f\xfd")
    put(tmp_path / "drive" / "drive_1.mcap.zstd", b"\x28\xb5\x2f\xfd")
    (whole,) = find_recordings(tmp_path)

    assert [part.path.name for part in split_up(whole)] == ["drive_0.mcap", "drive_1.mcap.zstd"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("drive_0.mcap", b"", EmptyRecordingError),
        ("drive_0.mcap", b"<html>\n", NotARecordingError),
        ("notes.txt", b"text\n", NotARecordingError),
        ("drive_0.mcap", None, RecordingVanishedError),
    ],
)
def test_what_is_no_split_is_refused(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception]
) -> None:
    """Empty, foreign and vanished files are told apart as for whole recordings."""
    path = tmp_path / "drive" / name
    put(path, content or b"")
    if content is None:
        path.unlink()
    with pytest.raises(error):
        load_split(path)
