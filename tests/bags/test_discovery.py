"""Finding recordings under a folder by names, lists and times."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as BagWriter
from rosbags.typesys import Stores, get_typestore

from bridge.bags import find_recordings, load_recording
from bridge.errors import RecordingVanishedError
from bridge.units import SECOND_NS
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
    """Folders with metadata, folders of a killed recorder, lone splits of ROS 1 and lone files."""
    touch(tmp_path, "drive/drive_0.mcap", "drive/drive_1.mcap", "drive/metadata.yaml")
    touch(tmp_path, "killed/killed_0.mcap", "killed/killed_1.mcap")
    touch(tmp_path, "mixed/a_0.bag", "mixed/a_10.bag", "mixed/a_9.bag", "mixed/b.db3")
    touch(tmp_path, "lone.bag", "packed.mcap.zstd", "packed.db3.zstd", "UPPER.MCAP")
    touch(tmp_path, "deep/er/still/x.mcap", "notes.txt", "metadata.json")
    assert found(tmp_path) == {
        "drive": ["drive_0.mcap", "drive_1.mcap"],
        "killed": ["killed_0.mcap", "killed_1.mcap"],
        "mixed/a_0.bag": ["a_0.bag", "a_9.bag", "a_10.bag"],
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
    """Files directly in the folder that is searched are lone files, whatever metadata.yaml says."""
    root = tmp_path / "drive"
    touch(root, "drive_0.mcap", "drive_1.mcap", "a.db3", "drive_0.bag", "drive_1.bag")
    lone = {
        "drive_0.mcap": ["drive_0.mcap"],
        "drive_1.mcap": ["drive_1.mcap"],
        "a.db3": ["a.db3"],
        "drive_0.bag": ["drive_0.bag", "drive_1.bag"],
    }
    assert found(root) == lone
    (root / "metadata.yaml").write_text(METADATA.format("[drive_0.mcap, drive_1.mcap, a.db3]"))
    assert found(root) == lone


METADATA = "rosbag2_bagfile_information: {{version: 4, relative_file_paths: {}}}"
DATE = "2026_06_01-10"


@pytest.mark.parametrize("extension", ["mcap", "db3", "mcap.zstd"])
def test_splits_of_rosbag2_are_told_by_their_folder(tmp_path: Path, extension: str) -> None:
    """Kilted's and Lyrical's names join in the folder that their recorder makes, and only there."""
    lyrical = [f"{n}_drive_{DATE}_{n + 10}_40.{extension}" for n in (0, 1, 2, 10)]
    kilted = [f"run_{n}.{extension}" for n in (3, 4, 9)]
    for folder in ("drive", f"drive_{DATE}_10_40", "other"):
        touch(tmp_path, *(f"{folder}/{name}" for name in lyrical))
    touch(tmp_path, *(f"run/{name}" for name in kilted), *(f"walk/{name}" for name in kilted))
    joined = found(tmp_path)

    assert joined.pop("drive") == joined.pop(f"drive_{DATE}_10_40") == lyrical
    assert joined.pop("run") == kilted
    assert joined == {
        f"{folder}/{name}": [name]
        for folder, names in (("other", lyrical), ("walk", kilted))
        for name in names
    }


def test_dates_and_clock_times_are_no_numbers(tmp_path: Path) -> None:
    """Files that a logger names by time stay apart, in every format and surroundings."""
    names = [
        f"{base}.{extension}"
        for extension in ("bag", "mcap", "db3")
        for base in (
            "drive_20240102_101112", "drive_20240102_101113", "drive_20240102", "drive_20240103",
            "drive_2024-01-02-10-11-12", "drive_2024-01-02-10-11-13", "drive_2024_01_02",
            "drive_2024_01_03", "drive_1700000000", "drive_1700000001",
        )
    ]  # fmt: skip
    touch(tmp_path, *names, *(f"drive/{name}" for name in names))
    assert set(found(tmp_path)) == {*names, *(f"drive/{name}" for name in names)}


def test_splits_of_ros1_are_told_anywhere(tmp_path: Path) -> None:
    """With and without a date in each; gaps and times that run backwards end a series."""
    touch(tmp_path, "a_0.bag", "a_1.bag", "a_2.bag.active", "a_40.bag", "a_41.bag", "a.bag")
    touch(tmp_path, "b_2024-01-02-10-11-12_0.bag", "b_2024-01-02-10-21-12_1.bag")
    touch(tmp_path, "c_2024-01-02-10-31-12_0.bag", "c_2024-01-02-10-21-12_1.bag")
    assert found(tmp_path) == {
        "a_0.bag": ["a_0.bag", "a_1.bag", "a_2.bag.active"],
        "a_40.bag": ["a_40.bag", "a_41.bag"],
        "a.bag": ["a.bag"],
        "b_2024-01-02-10-11-12_0.bag": [
            "b_2024-01-02-10-11-12_0.bag",
            "b_2024-01-02-10-21-12_1.bag",
        ],
        "c_2024-01-02-10-31-12_0.bag": ["c_2024-01-02-10-31-12_0.bag"],
        "c_2024-01-02-10-21-12_1.bag": ["c_2024-01-02-10-21-12_1.bag"],
    }


def test_metadata_joins_what_it_lists(tmp_path: Path) -> None:
    """Below the root a list is evidence for any names, and for no others."""
    touch(tmp_path, "drive/x.mcap", "drive/20240101.mcap", "drive/other.mcap", "drive/y_7.db3")
    (tmp_path / "drive" / "metadata.yaml").write_text(METADATA.format("[x.mcap, 20240101.mcap]"))
    touch(tmp_path, "strange/a.mcap", "strange/b.mcap")
    (tmp_path / "strange" / "metadata.yaml").write_text(METADATA.format("[c.mcap]"))
    assert found(tmp_path) == {
        "drive": ["x.mcap", "20240101.mcap"],
        "drive/other.mcap": ["other.mcap"],
        "drive/y_7.db3": ["y_7.db3"],
        "strange/a.mcap": ["a.mcap"],
        "strange/b.mcap": ["b.mcap"],
    }


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
        "x.mcap.active",
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


def record(path: Path, *seconds: int) -> None:
    """Write a recording with a message at each of these seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    stamps = [second * SECOND_NS for second in seconds]
    {".mcap": as_mcap, ".db3": as_db3, ".bag": as_bag}[path.suffix](path, stamps)


def as_mcap(path: Path, stamps: list[int]) -> None:
    with path.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start()
        channel = writer.register_channel("/a", "cdr", 0)
        for stamp in stamps:
            writer.add_message(channel, log_time=stamp, publish_time=stamp, data=b"")
        writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing


def as_db3(path: Path, stamps: list[int]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE messages(timestamp INTEGER NOT NULL)")
        database.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        database.executemany("INSERT INTO messages VALUES (?)", [(stamp,) for stamp in stamps])


def as_bag(path: Path, stamps: list[int]) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    with BagWriter(path) as writer:
        connection = writer.add_connection("/a", "std_msgs/msg/Empty", typestore=store)
        for stamp in stamps:
            writer.write(connection, stamp, b"")


@pytest.mark.parametrize("name", ["robot.bag", "runs/runs.bag", "runs/runs.mcap", "runs/runs.db3"])
def test_files_of_one_time_are_no_splits(tmp_path: Path, name: str) -> None:
    """Two robots, or two days: names like those of splits join nothing that was not in turn."""
    stem, suffix = name.split(".")
    first, second, third = (tmp_path / f"{stem}_{number}.{suffix}" for number in range(3))
    record(first, 100, 200)
    record(second, 200, 300)
    joined = {tuple(names) for names in found(tmp_path).values()}
    record(third, 210, 320)

    assert joined == {(first.name, second.name)}
    assert (third.name,) in {tuple(names) for names in found(tmp_path).values()}
    record(second, 10, 90)
    record(third, 300, 400)
    assert (first.name,) in {tuple(names) for names in found(tmp_path).values()}


def test_small_overlaps_and_what_cannot_say_its_time_stay_splits(tmp_path: Path) -> None:
    """Messages come late by a little, and a split that is still written says nothing yet."""
    record(tmp_path / "drive_0.bag", 100, 200)
    record(tmp_path / "drive_1.bag", 199, 300)
    record(tmp_path / "drive_2.bag", 300)
    (tmp_path / "drive_3.bag").write_bytes(b"#ROSBAG V2.0\n")
    record(tmp_path / "drive_4.bag", 310, 400)

    assert list(found(tmp_path).values()) == [[f"drive_{number}.bag" for number in range(5)]]


def test_list_of_the_recorder_counts_more_than_times(tmp_path: Path) -> None:
    """A simulation that starts its clock again goes on recording what `metadata.yaml` lists."""
    names = ["run_0.mcap", "run_1.mcap"]
    for name in names:
        record(tmp_path / "run" / name, 0, 50)
    assert len(found(tmp_path)) == 2
    listed = f"rosbag2_bagfile_information:\n  relative_file_paths: [{', '.join(names)}]\n"
    (tmp_path / "run" / "metadata.yaml").write_text(listed)
    assert found(tmp_path) == {"run": names}
