"""Which files are one recording, and what is said of paths that are none."""

import json
import os
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from bridge.bags import load_recording, read_hints, recording
from bridge.bags.formats import StorageName, storage_name
from bridge.errors import (
    EmptyRecordingError,
    NotARecordingError,
    RecordingError,
    RecordingVanishedError,
)
from bridge.model import Container
from tests.bags.mcap import mcap_files as made
from tests.bags.mcap.mcap_files import SHARED

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"no recordings in {SHARED}")

# In the order in which the recorder writes it.
METADATA = """rosbag2_bagfile_information:
  version: 9
  storage_identifier: mcap
  duration:
    nanoseconds: 1000
  starting_time:
    nanoseconds_since_epoch: 5
  message_count: 3
  topics_with_message_count:
    []
  compression_format: ""
  compression_mode: ""
  relative_file_paths:
    - drive_0.mcap
    - drive_1.mcap
  files:
    - path: drive_0.mcap
      message_count: 2
    - path: drive_1.mcap
      message_count: 1
  custom_data:
    vehicle: seven
  ros_distro: jazzy
"""


def write_split(path: Path, *times: int) -> Path:
    body = made.schema(1) + made.channel(1, 1, "/a")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(made.finished(body + b"".join(made.message(1, time) for time in times)))
    return path


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Make a rosbag2 folder of two splits."""
    write_split(tmp_path / "drive" / "drive_0.mcap", 1, 2)
    write_split(tmp_path / "drive" / "drive_1.mcap", 3)
    (tmp_path / "drive" / "metadata.yaml").write_text(METADATA)
    return tmp_path / "drive"


def names(path: Path) -> list[str]:
    return [file.path.name for file in load_recording(path).files]


@needs_shared
def test_real_folders_load_without_a_note() -> None:
    """A recorder's folder is one recording of all its splits, and nothing about it is odd."""
    recording = load_recording(SHARED / "wbag_mcap")
    assert recording.name == "wbag_mcap"
    assert [file.path.name for file in recording.files] == [f"wbag_{n}.mcap" for n in range(5)]
    assert {file.container for file in recording.files} == {Container.MCAP}
    assert recording.hints["message_count"] == 6074
    assert recording.notes == ()


def test_folder_has_its_splits_hints_and_no_notes(drive: Path) -> None:
    """Files in order with their sizes, the document below its root key."""
    recording = load_recording(drive)
    assert (recording.path, recording.name, recording.notes) == (drive, "drive", ())
    assert [file.size_bytes for file in recording.files] == [
        (drive / f"drive_{n}.mcap").stat().st_size for n in (0, 1)
    ]
    assert recording.hints["custom_data"] == {"vehicle": "seven"}


def test_splits_are_sorted_by_number(tmp_path: Path) -> None:
    """Split 10 comes after split 9, with or without metadata.yaml."""
    for number in range(12):
        write_split(tmp_path / "d" / f"d_{number}.mcap", number)
    assert names(tmp_path / "d") == [f"d_{number}.mcap" for number in range(12)]


def test_metadata_torn_at_every_byte_costs_no_split(drive: Path) -> None:
    """Wherever the document breaks off, all files on disk belong to the recording.

    That it is torn shows unless only part of the last value is missing.
    """
    last_key = METADATA.index("ros_distro")
    for cut in range(0, len(METADATA), 7):
        (drive / "metadata.yaml").write_text(METADATA[:cut])
        recording = load_recording(drive)
        assert len(recording.files) == 2
        assert recording.notes or cut > last_key, f"cut at {cut} goes unnoticed"


@pytest.mark.parametrize("missing", ["custom_data", "ros_distro", "files"])
def test_key_that_a_writer_leaves_out_is_no_tear(drive: Path, missing: str) -> None:
    """Converters write fewer keys than the recorder; where more follows, nothing was cut off."""
    document = yaml_of(METADATA)
    del document[missing]
    lines = [f"  {key}: {json.dumps(value)}" for key, value in sorted(document.items())]
    (drive / "metadata.yaml").write_text("rosbag2_bagfile_information:\n" + "\n".join(lines) + "\n")
    assert load_recording(drive).notes == ()


def test_paths_of_windows_are_read(drive: Path) -> None:
    """Recorders run there, too; what they list is there, and so is what is not."""
    text = METADATA.replace("- drive_0", "- bags\\drive\\drive_0").replace(
        "- drive_1", "- C:\\drive_1"
    )
    (drive / "metadata.yaml").write_text(text)
    assert load_recording(drive).notes == ()
    (drive / "drive_1.mcap").unlink()
    assert list(load_recording(drive).missing) == ["drive_1.mcap"]


def yaml_of(text: str) -> dict[str, object]:
    """Parse the test's own document with another parser than ours."""
    document: dict[str, object] = YAML(typ="safe", pure=True).load(text)[
        "rosbag2_bagfile_information"
    ]
    return document


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        bytes(500),
        b"\xff\xfe",
        b"[" * 2000,
        b"a: &a [b]\nb: *a",
        b"rosbag2_bagfile_information: 7",
        b"rosbag2_bagfile_information: {version: 9}",
        b"rosbag2_bagfile_information: {version: x, relative_file_paths: 3}",
        b"rosbag2_bagfile_information: !!python/object:os.system {}",
        b"x" * (5 << 20),
    ],
    ids=lambda document: repr(document[:20]),
)
def test_unusable_metadata_is_a_note(drive: Path, document: bytes) -> None:
    """Whatever stands in metadata.yaml, the splits are found and the flaw is noted."""
    (drive / "metadata.yaml").write_bytes(document)
    recording = load_recording(drive)
    assert len(recording.files) == 2
    assert any("metadata.yaml" in note for note in recording.notes)


def nested_merges(levels: int = 20) -> str:
    """Make a short document that becomes huge when its merge keys are followed."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [
        f"a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}]}}" for level in range(1, levels)
    ]
    return "\n".join(lines) + "\nrosbag2_bagfile_information: {version: 4}\n"


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "document",
    [
        nested_merges(),
        "rosbag2_bagfile_information:\n  version: &v 4\n  message_count: *v\n",
        "rosbag2_bagfile_information: {<<: {version: 4}}",
        "rosbag2_bagfile_information: {[a]: 4}",
        "- " * 70 + "x",
    ],
    ids=["nested merges", "alias", "merge", "key", "deep"],
)
def test_what_no_recorder_writes_is_not_followed(drive: Path, document: str) -> None:
    """Aliases, merge keys and deep nesting cost the metadata, at once, and nothing else."""
    (drive / "metadata.yaml").write_text(document)
    recording = load_recording(drive)
    assert len(recording.files) == 2
    assert recording.hints == {}
    assert any("metadata.yaml is no YAML" in note for note in recording.notes)


def test_scalars_are_those_of_the_core_schema(drive: Path) -> None:
    """Numbers, truths and nothing are told from texts; what is quoted is a text."""
    (drive / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n"
        "  {version: 9, a: '9', b: 1.5, c: true, d: ~, e: 1e3, f: yes, g: -7, h: 0x1, i: }\n"
    )
    hints = load_recording(drive).hints
    assert dict(hints) == {
        "version": 9, "a": "9", "b": 1.5, "c": True, "d": None, "e": 1000.0, "f": "yes", "g": -7,
        "h": "0x1", "i": None,
    }  # fmt: skip


def test_thousands_of_listed_splits_are_read_at_once(tmp_path: Path) -> None:
    """4,000 splits cost no more than forty times what a hundred do, and none is lost."""
    pytest.importorskip("_ruamel_yaml", reason="libyaml's parser is not installed")

    def seconds(splits: int) -> float:
        lines = [f"    - drive_{number}.mcap" for number in range(splits)]
        lines += ["  files:"]
        lines += [
            f"    - path: drive_{number}.mcap\n      message_count: 7" for number in range(splits)
        ]
        head = "rosbag2_bagfile_information:\n  version: 5\n  relative_file_paths:\n"
        (tmp_path / "metadata.yaml").write_text(head + "\n".join(lines) + "\n")
        before_s = time.process_time()
        hints, flaws = read_hints(tmp_path)
        took_s = time.process_time() - before_s
        assert (len(hints["files"]), flaws) == (splits, ())
        return took_s

    seconds(10)
    hundred_s = min(seconds(100) for _ in range(3))
    assert seconds(4000) < max(120 * hundred_s, 0.2)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid x\n"])
def test_files_that_belong_to_it_and_are_none_are_missing(drive: Path, content: bytes) -> None:
    """An empty split, a pointer and one that is listed and absent make the recording incomplete."""
    assert load_recording(drive).missing == {}
    (drive / "drive_1.mcap").write_bytes(content)
    text = METADATA.replace("    - drive_1.mcap\n", "    - drive_1.mcap\n    - drive_2.mcap\n")
    (drive / "metadata.yaml").write_text(text)
    recording = load_recording(drive)
    assert [file.path.name for file in recording.files] == ["drive_0.mcap"]
    assert set(recording.missing) == {"drive_1.mcap", "drive_2.mcap"}


def test_duplicate_keys_are_survived(drive: Path) -> None:
    """A document that says something twice still says it."""
    (drive / "metadata.yaml").write_text(METADATA + "  ros_distro: kilted\n")
    assert load_recording(drive).hints["custom_data"] == {"vehicle": "seven"}


def test_metadata_and_files_that_disagree_are_noted(drive: Path) -> None:
    """Splits that are missing, extra or listed twice are said; the files decide."""
    (drive / "drive_0.mcap").unlink()
    write_split(drive / "drive_2.mcap", 9)
    text = METADATA.replace("    - drive_1.mcap\n", "    - drive_1.mcap\n    - drive_1.mcap\n")
    (drive / "metadata.yaml").write_text(text)
    recording = load_recording(drive)
    assert [file.path.name for file in recording.files] == ["drive_1.mcap", "drive_2.mcap"]
    notes = "\n".join(recording.notes)
    assert "drive_0.mcap is listed and missing" in notes
    assert "drive_2.mcap is not listed" in notes
    assert "'drive_1.mcap' twice" in notes


def test_listed_names_in_another_spelling_are_those_that_are_there(drive: Path) -> None:
    """Case and accents change in copies; a name that could mean two files means none of them."""
    (drive / "drive_0.mcap").rename(drive / unicodedata.normalize("NFD", "größe.mcap"))
    text = METADATA.replace("drive_0.mcap", unicodedata.normalize("NFC", "Größe.mcap"))
    (drive / "metadata.yaml").write_text(text.replace("drive_1.mcap", "DRIVE_1.mcap"))
    recording = load_recording(drive)
    assert len(recording.files) == 2
    assert recording.missing == {}
    assert not recording.notes

    write_split(drive / "Drive_1.mcap", 9)
    assert set(load_recording(drive).missing) == {"DRIVE_1.mcap"}


@pytest.mark.parametrize("entry", ["../secret.mcap", "/etc/secret.mcap", "..", "''", "7"])
def test_listed_paths_never_lead_out(drive: Path, entry: str) -> None:
    """A listed name that leaves the folder, or is none, is refused and noted."""
    write_split(drive.parent / "secret.mcap", 1)
    text = METADATA.replace("    - drive_0.mcap\n", f"    - {entry}\n", 1)
    (drive / "metadata.yaml").write_text(text)
    recording = load_recording(drive)
    assert [file.path for file in recording.files] == [drive / f"drive_{n}.mcap" for n in (0, 1)]
    assert any("is no file name" in note or "leaves the folder" in note for note in recording.notes)


@pytest.mark.parametrize("entry", ["metadata.yaml", "drive/metadata.yaml", "drive_0.db3-wal"])
def test_list_that_names_more_than_recording_files(drive: Path, entry: str) -> None:
    """What is kept beside a recording's files is not missing from it; a note says so."""
    text = METADATA.replace("    - drive_0.mcap\n", f"    - {entry}\n    - drive_0.mcap\n", 1)
    (drive / "metadata.yaml").write_text(text)
    recording = load_recording(drive)
    assert [file.path.name for file in recording.files] == ["drive_0.mcap", "drive_1.mcap"]
    assert recording.missing == {}
    assert recording.notes == (f"metadata.yaml lists {entry!r}, which is no file of a recording",)


def test_symlinked_split_is_not_followed(drive: Path, tmp_path: Path) -> None:
    """A split that is a symlink is not of the recording."""
    outside = write_split(tmp_path / "outside.mcap", 9)
    (drive / "drive_1.mcap").unlink()
    (drive / "drive_1.mcap").symlink_to(outside)
    recording = load_recording(drive)
    assert [file.path.name for file in recording.files] == ["drive_0.mcap"]
    assert "drive_1.mcap is listed and missing" in recording.notes


def test_empty_or_foreign_split_is_left_out_with_a_note(drive: Path) -> None:
    """One bad split does not take the others with it."""
    (drive / "drive_0.mcap").write_bytes(b"")
    recording = load_recording(drive)
    assert [file.path.name for file in recording.files] == ["drive_1.mcap"]
    assert "drive_0.mcap is left out: the file is empty" in recording.notes


def test_stranger_beside_the_splits_is_not_of_the_recording(drive: Path) -> None:
    """A file of another name in a recorder's folder is another recording."""
    write_split(drive / "other.mcap", 1)
    assert names(drive) == ["drive_0.mcap", "drive_1.mcap"]


def test_renamed_folder_keeps_its_splits(drive: Path, tmp_path: Path) -> None:
    """The folder's name need not be that of the splits."""
    drive.rename(tmp_path / "renamed")
    recording = load_recording(tmp_path / "renamed")
    assert recording.name == "renamed"
    assert len(recording.files) == 2


def test_lone_file_is_a_recording_by_its_stem(tmp_path: Path) -> None:
    """A file named by hand is itself; a split of several named by hand is that split."""
    recording = load_recording(write_split(tmp_path / "trip.mcap", 1))
    assert (recording.name, len(recording.files), recording.hints) == ("trip", 1, {})


def test_first_of_lone_splits_stands_for_all(tmp_path: Path) -> None:
    """Splits of ROS 1 are joined under the first; later ones and other formats are themselves."""
    for number in (2, 10, 1):
        (tmp_path / f"x_{number}.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes([number]))
        write_split(tmp_path / f"x_{number}.mcap", number)
    (tmp_path / "y_1.bag").write_bytes(b"#ROSBAG V2.0\n")
    recording = load_recording(tmp_path / "x_1.bag")
    assert recording.name == "x"
    assert [file.path.name for file in recording.files] == ["x_1.bag", "x_2.bag", "x_10.bag"]
    assert names(tmp_path / "x_2.bag") == ["x_2.bag"]
    assert names(tmp_path / "x_1.mcap") == ["x_1.mcap"]


def test_thousands_of_neighbours_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a flat folder of lone recordings only names that could be splits of one are read."""
    for number in range(300):
        (tmp_path / f"run{number:03}_0.bag").write_bytes(b"#ROSBAG V2.0\n")
    (tmp_path / "run007_1.bag").write_bytes(b"#ROSBAG V2.0\n")
    read: list[str] = []

    def counting(name: str) -> StorageName | None:
        read.append(name)
        return storage_name(name)

    monkeypatch.setattr(recording, "storage_name", counting)

    assert len(load_recording(tmp_path / "run007_0.bag").files) == 2
    assert set(read) == {"run007_0.bag", "run007_1.bag"}


def test_bytes_decide_the_format(tmp_path: Path) -> None:
    """An MCAP file by another name is MCAP; the name is noted as wrong where it is one of ours."""
    path = write_split(tmp_path / "a.db3", 1)
    recording = load_recording(path)
    assert recording.files[0].container is Container.MCAP
    assert recording.notes == ("a.db3 is mcap in spite of its name",)
    (tmp_path / "noname").write_bytes(path.read_bytes())
    assert load_recording(tmp_path / "noname").files[0].container is Container.MCAP


def test_compressed_file_is_recognised(tmp_path: Path) -> None:
    """File mode compression shows in name and bytes."""
    plain = write_split(tmp_path / "a.mcap", 1).read_bytes()
    path = tmp_path / "b.mcap.zstd"
    path.write_bytes(pa.compress(plain, codec="zstd", asbytes=True))
    (file,) = load_recording(path).files
    assert (file.container, file.compression) == (Container.MCAP, "zstd")
    assert load_recording(path).name == "b"


@pytest.mark.parametrize(("whole", "chosen"), [(True, "d_0.mcap"), (False, "d_0.mcap.zstd")])
def test_compressed_twin_is_taken_unless_the_plain_one_is_whole(
    tmp_path: Path, *, whole: bool, chosen: str
) -> None:
    """A recorder killed while it compresses leaves both; only one of them is read."""
    path = write_split(tmp_path / "d" / "d_0.mcap", 1)
    data = path.read_bytes()
    path.with_name("d_0.mcap.zstd").write_bytes(pa.compress(data, codec="zstd", asbytes=True))
    if not whole:
        path.write_bytes(data[:-20])
    recording = load_recording(tmp_path / "d")
    assert [file.path.name for file in recording.files] == [chosen]
    assert len(recording.notes) == 1


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


@pytest.mark.parametrize(
    ("content", "error", "part"),
    [
        (b"", EmptyRecordingError, "empty"),
        (POINTER, NotARecordingError, "LFS"),
        (b"<html>404</html>", NotARecordingError, "text"),
    ],
)
@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".bag"])
def test_what_is_no_bag_is_said_with_a_hint(
    tmp_path: Path, content: bytes, error: type[RecordingError], part: str, suffix: str
) -> None:
    """Empty files, pointers and error pages are told apart from damaged recordings."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(error, match=part) as caught:
        load_recording(path)
    assert caught.value.path == path
    assert caught.value.hint


def test_damaged_head_still_counts_by_its_name(tmp_path: Path) -> None:
    """A bag that lost its first bytes is for salvage to judge, not for the loader to refuse."""
    path = tmp_path / "a.mcap"
    path.write_bytes(b"\x00" * 8 + write_split(tmp_path / "b.mcap", 1).read_bytes()[8:])
    assert load_recording(path).files[0].container is Container.MCAP


def odd_paths(tmp_path: Path) -> Iterator[tuple[Path, type[RecordingError]]]:
    yield tmp_path / "absent.mcap", RecordingVanishedError
    fifo = tmp_path / "fifo.mcap"
    os.mkfifo(fifo)
    yield fifo, NotARecordingError
    yield Path("/dev/zero"), NotARecordingError
    link = tmp_path / "link.mcap"
    link.symlink_to(write_split(tmp_path / "target.mcap", 1))
    yield link, NotARecordingError
    dangling = tmp_path / "dangling.mcap"
    dangling.symlink_to(tmp_path / "nowhere")
    yield dangling, NotARecordingError
    folder = tmp_path / "folder.mcap"
    folder.mkdir()
    yield folder, NotARecordingError
    yaml_only = tmp_path / "yaml"
    yaml_only.mkdir()
    (yaml_only / "metadata.yaml").write_text(METADATA)
    yield yaml_only, NotARecordingError
    unknown = tmp_path / "unknown.xyz"
    unknown.write_bytes(bytes(range(256)))
    yield unknown, NotARecordingError


@pytest.mark.timeout(10)
def test_odd_paths_are_refused_at_once(tmp_path: Path) -> None:
    """FIFOs, devices, symlinks, empty folders and strangers are refused without blocking."""
    for path, error in odd_paths(tmp_path):
        with pytest.raises(error):
            load_recording(path)


def test_folder_of_several_recordings_asks_which(tmp_path: Path) -> None:
    """A folder that is not one recording says how many it holds."""
    write_split(tmp_path / "a.mcap", 1)
    write_split(tmp_path / "b.mcap", 1)
    with pytest.raises(NotARecordingError, match="2 recordings") as caught:
        load_recording(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["a\nb.mcap", "a%41?#.mcap", "-rf.mcap", "\u202eb.mcap", "x" * 250 + ".mcap"]
)
def test_odd_names_load(tmp_path: Path, name: str) -> None:
    """Newlines, URI characters, dashes, writing direction and length change nothing."""
    assert names(write_split(tmp_path / name, 1)) == [name]


def test_name_that_is_not_utf8_loads(tmp_path: Path) -> None:
    """Names are bytes."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe_0.mcap"))
    shutil.copy(write_split(tmp_path / "a.mcap", 1), path)
    assert names(path) == [path.name]
