"""What people, programs and file systems do to a folder: each message once all the same.

Real daemons that run while it happens; what arrived is counted by reading it back.
"""

import os
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from bridge.client import MosaicoClient
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from tests.daemon.conftest import ROOT
from tests.daemon.settings_file import written
from tests.daemon.test_parts import Field, on_platform, once, split_bytes
from tests.daemon.test_splits import metadata

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

pytestmark = [
    pytest.mark.slow,
    # The same folder under two names, or one that comes back before its watch was dropped.
    pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning"),
]
UNITS = pytest.mark.parametrize("unit", ["recording", "split"])
# How long a copy stands still: longer than what is complete has to be quiet.
PAUSE_S = 0.45
COPYING = ["x.{}.part", "y.{}.crdownload", "z.{}.filepart", ".~w.{}", "v.{}~", "u.{}.tmp"]
NAMES = [
    "a b", "a_b", "A_B", "a-b", "a.b", "a:b", "a/b/c", "-rf", "new\nline", "%s", "$HOME", "'q'",
    "drive (1)", "Drive (1)", "drive (2)", "x" * 240, "x" * 241, "日本", "日 本", "😀",
    unicodedata.normalize("NFC", "größe"), unicodedata.normalize("NFD", "größe"),
    os.fsdecode(b"no text \xff\xfe"),
]  # fmt: skip


@pytest.fixture(params=["mcap", "db3", "bag"])
def field(request: pytest.FixtureRequest, bridge: "Bridge") -> Iterator[Field]:
    with bridge.platform() as running:
        bridge.overrides |= {"watch.settle_s": 0.3, "watch.stale_s": 3.0}
        yield Field(bridge, running.port, request.param)


def arrives(field: Field, *numbers: int) -> None:
    """Wait until the messages of certain splits are there, each once, and all is at rest."""
    field.bridge.wait_for(lambda: field.arrived(*numbers))
    field.bridge.wait_for(lambda: not field.states().keys() & {str(state) for state in UNSETTLED})
    assert field.arrived(*numbers), field.states()


UNSETTLED = (
    State.DISCOVERED, State.SETTLING, State.READY, State.SENDING, State.VERIFIED, State.WAITING,
)  # fmt: skip


def copied(content: bytes, path: Path, *, mode: str = "ab", pieces: int = 4) -> Path:
    """Copy as over a bad line: in pieces, the file closed in between, its time put back."""
    step = len(content) // pieces + 1
    for start in range(0, len(content), step):
        with path.open(mode) as stream:
            stream.write(content[start : start + step])
        time.sleep(PAUSE_S)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def test_copies_of_all_kinds(field: Field) -> None:
    """`cp`, `rsync` in place and not, browsers, whole folders with the metadata first or never."""
    watched, extension = field.bridge.watched, field.extension

    def content(number: int) -> bytes:
        return split_bytes(number, extension, field.bridge.folder)

    with field.bridge.running():
        copied(content(0), watched / f"inplace.{extension}")
        hidden = copied(content(1), watched / f".rsync.{extension}.Xb3kQ9")
        hidden.rename(watched / f"rsync.{extension}")
        field.describe("listed", *(f"listed_{number}" for number in range(3)))
        for number in (2, 0, 1):
            copied(content(2 + number), watched / "listed" / f"listed_{number}.{extension}")
        (watched / "bare").mkdir()
        for number in range(2):
            copied(content(5 + number), watched / "bare" / f"bare_{number}.{extension}")
        for number, name in enumerate(COPYING):
            (watched / name.format(extension)).write_bytes(content(7 + number))
        time.sleep(2 * PAUSE_S)
        for number, name in enumerate(COPYING):
            (watched / name.format(extension)).rename(watched / f"done{number}.{extension}")
        arrives(field, *range(13))


def test_names_of_all_kinds(field: Field) -> None:
    """Whatever a file is called keeps neither it nor others from the platform."""
    with field.bridge.running():
        for number, name in enumerate(NAMES):
            field.put(number, name)
        upper = field.put(len(NAMES), "UPPER")
        upper.rename(upper.with_suffix(f".{field.extension.upper()}"))
        arrives(field, *range(len(NAMES) + 1))


@UNITS
def test_other_content_that_looks_the_same(field: Field, unit: str) -> None:
    """Put in a file's place by rename, or written over it, of its size and with its time."""
    bridge = field.bridge
    bridge.overrides["ingest.unit"] = unit
    by_size: dict[int, list[int]] = {}
    for number in range(60):
        size = len(split_bytes(number, field.extension, bridge.folder))
        by_size.setdefault(size, []).append(number)
    first, second, third, fourth, *_ = max(by_size.values(), key=len)
    with bridge.running():
        renamed, written_over = field.put(first, "renamed"), field.put(second, "written")
        arrives(field, first, second)
        for path, number in ((renamed, third), (written_over, fourth)):
            before = path.stat()
            content = split_bytes(number, field.extension, bridge.folder)
            if path is renamed:
                (bridge.folder / "other").write_bytes(content)
                (bridge.folder / "other").rename(path)
            else:
                with path.open("r+b") as stream:
                    stream.write(content)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        arrives(field, first, second, third, fourth)


def test_the_same_content_in_several_recordings(field: Field) -> None:
    """Two recordings share a split, a file has two names, a link a third: sent once, told apart."""
    bridge = field.bridge
    bridge.overrides["disposal.mode"] = "delete"
    with bridge.running():
        for folder, numbers in (("one", (0, 1)), ("two", (1, 2))):
            for place, number in enumerate(numbers):
                field.put(number, f"{folder}/{folder}_{place}")
            field.describe(folder, f"{folder}_0", f"{folder}_1")
        path = field.put(3, "name")
        (bridge.watched / f"other_name.{field.extension}").hardlink_to(path)
        (bridge.watched / f"link.{field.extension}").symlink_to(path)
        arrives(field, 0, 1, 2, 3)


@UNITS
def test_two_folders_with_the_same_recording(field: Field, unit: str) -> None:
    """Under another name, with two workers and sources that are deleted."""
    bridge = field.bridge
    other = bridge.folder / "other"
    other.mkdir()
    del bridge.overrides["watch.folder"]
    bridge.overrides |= {
        "folders.first.path": str(bridge.watched),
        "folders.second.path": str(other),
        "ingest.unit": unit,
        "workers.count": 2,
        "disposal.mode": "delete",
    }
    with bridge.running():
        for number in range(3):
            field.put(number, f"drive/drive_{number}")
        field.describe("drive", "drive_0", "drive_1", "drive_2")
        shutil.copytree(bridge.watched / "drive", other / "renamed")
        for number in range(3, 9):
            field.put(number, f"moved{number}/moved{number}_0")
            field.describe(f"moved{number}", f"moved{number}_0")
            time.sleep(PAUSE_S / 3)
            (bridge.watched / f"moved{number}").rename(other / f"away{number}")
        arrives(field, *range(9))


@UNITS
def test_recorder_that_compresses_what_it_has_closed(field: Field, unit: str) -> None:
    """Slowly, split by split, while the next one is recorded; the plain file goes at last."""
    bridge = field.bridge
    bridge.overrides["ingest.unit"] = unit
    with bridge.running():
        for number in range(3):
            field.put(number, f"drive/drive_{number}")
            if number:
                plain = bridge.watched / "drive" / f"drive_{number - 1}.{field.extension}"
                packed = pa.compress(plain.read_bytes(), codec="zstd", asbytes=True)
                copied(packed, plain.with_name(f"{plain.name}.zstd"), pieces=3)
                plain.unlink()
            time.sleep(PAUSE_S)
        field.describe("drive", "drive_0", "drive_1", "drive_2")
        arrives(field, 0, 1, 2)


def test_root_that_is_a_link_to_another_disk_by_now(field: Field) -> None:
    """The same names with other content are other recordings."""
    bridge = field.bridge
    link = bridge.folder / "link"
    for number in range(2):
        disk = bridge.folder / f"disk{number}"
        disk.mkdir()
        content = split_bytes(number, field.extension, bridge.folder)
        (disk / f"drive.{field.extension}").write_bytes(content)
    link.symlink_to(bridge.folder / "disk0")
    bridge.overrides["watch.folder"] = str(link)
    with bridge.running():
        arrives(field, 0)
        (bridge.folder / "next").symlink_to(bridge.folder / "disk1")
        (bridge.folder / "next").rename(link)
        arrives(field, 0, 1)


@pytest.mark.parametrize("jump_days", [365.0, -365.0])
def test_clock_that_jumps_by_a_year(
    field: Field, monkeypatch: pytest.MonkeyPatch, jump_days: float
) -> None:
    """And files from the future and from before 1970."""
    bridge = field.bridge
    bridge.overrides |= {"disposal.mode": "delete", "disposal.retain_days": 0.5}
    true_ns, jump_ns = time.time_ns, 0
    monkeypatch.setattr(time, "time_ns", lambda: true_ns() + jump_ns)
    with bridge.running():
        field.put(0, "before")
        arrives(field, 0)
        jump_ns = int(jump_days * 86_400e9)
        os.utime(field.put(1, "future"), (4e9, 4e9))
        os.utime(field.put(2, "past"), (-4e8, -4e8))
        for number in (3, 4):
            field.put(number, f"drive/drive_{number}")
        field.describe("drive", "drive_3", "drive_4")
        arrives(field, 0, 1, 2, 3, 4)
        jump_ns = 0
        field.put(5, "after")
        arrives(field, 0, 1, 2, 3, 4, 5)


def test_lists_that_were_written_elsewhere(field: Field) -> None:
    """Names with folders, in another case, with accents written otherwise, compressed since."""
    bridge, extension = field.bridge, field.extension
    composed = unicodedata.normalize("NFC", "größe")
    lists = {
        "old": ("old_0", "old_1", "old/old_0.{}", "old/old_1.{}"),
        "abs": ("abs_0", "abs_1", "/data/abs/abs_0.{}", "/data/abs/abs_1.{}"),
        "twice": ("twice_0", "twice_1", "twice_0.{}", "twice_0.{}", "twice_1.{}"),
        "case": ("case_0", "case_1", "Case_0.{}", "CASE_1.{}"),
        "accents": (unicodedata.normalize("NFD", composed), "b", composed + ".{}", "b.{}"),
        "packed": ("packed_0", "packed_1", "packed_0.{}.zstd", "packed_1.{}.zstd"),
    }
    number = 0
    with bridge.running():
        for folder, (one, two, *listed) in lists.items():
            for name in (one, two):
                field.put(number, f"{folder}/{name}")
                number += 1
            names = [name.format(extension) for name in listed]
            bridge.drop(f"{folder}/metadata.yaml", metadata(names).encode())
        arrives(field, *range(number))
    # All of each was there, as one.
    assert field.states() == {"finalised": len(lists)}


def test_copy_that_is_the_last_there_is(field: Field) -> None:
    """The first was sent and deleted, its copy left alone; then the platform loses it."""
    bridge = field.bridge
    bridge.overrides["disposal.mode"] = "delete"
    field.put(0, "first")
    field.put(0, "second")
    field.run_until(lambda: len(list(bridge.watched.iterdir())) == 1)
    field.lose_sequences()
    verify = [sys.executable, "-m", "bridge", "verify", "--all", "--config", str(written(bridge))]
    done = subprocess.run(verify, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    field.run_until(lambda: field.arrived(0))

    with Journal.read(bridge.state) as journal:
        assert len(journal.recordings()) == 1


def drive(field: Field, folder: str, *numbers: int) -> Path:
    """A recording of several splits, described, in a folder of its own."""
    name = Path(folder).name
    for place, number in enumerate(numbers):
        field.put(number, f"{folder}/{name}_{place}")
    field.describe(folder, *(f"{name}_{place}" for place in range(len(numbers))))
    return field.bridge.watched / folder


def leaves(field: Field) -> None:
    """Wait until no recording file is in the folder any more."""
    field.bridge.wait_for(
        lambda: not any(one.is_file() for one in field.bridge.watched.rglob(f"*.{field.extension}"))
    )


@UNITS
def test_folders_in_each_other_with_the_same_names(field: Field, unit: str) -> None:
    """Of folders and files, and folders that are named like files; all is sent and deleted."""
    field.bridge.overrides |= {"disposal.mode": "delete", "ingest.unit": unit}
    drive(field, "drive", 0, 1)
    drive(field, "drive/drive", 2, 3)
    drive(field, "drive/drive/drive", 4)
    drive(field, f"x.{field.extension}", 5, 6)
    drive(field, f"y.{field.extension}.zstd", 7, 8)
    drive(field, "dots...", 9)
    field.put(10, "drive_0")
    with field.bridge.running():
        arrives(field, *range(11))
        leaves(field)
        arrives(field, *range(11))


@UNITS
def test_folder_that_is_mounted_at_a_second_place(field: Field, unit: str) -> None:
    """Read-only at first: it stays, told, until it can be deleted; nothing goes twice."""
    bridge = field.bridge
    bridge.overrides |= {"disposal.mode": "delete", "ingest.unit": unit, "workers.count": 2}
    folder = drive(field, "drive", 0, 1)
    other = bridge.watched / "same"
    other.mkdir()
    for place in (folder, other):
        subprocess.run(["mount", "--bind", folder, place], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    try:
        with bridge.running():
            gone = field.put(2, "lone")
            arrives(field, 0, 1, 2)
            bridge.wait_for(lambda: not gone.exists())
            assert len(list(folder.glob(f"*.{field.extension}"))) == 2
            for place in (folder, other):
                subprocess.run(["mount", "-o", "remount,bind,rw", place], check=True)
            leaves(field)
            arrives(field, 0, 1, 2)
    finally:
        for place in (folder, other):
            subprocess.run(["umount", "--lazy", place], check=True)


@UNITS
def test_journal_of_yesterday_that_is_put_back(field: Field, unit: str) -> None:
    """What was sent and deleted since, and what goes on in its place, under another unit."""
    bridge = field.bridge
    bridge.overrides["ingest.unit"] = unit
    drive(field, "a", 0, 1)
    field.run_until(lambda: field.arrived(0, 1))
    shutil.copytree(bridge.state, bridge.folder / "yesterday")
    bridge.overrides["disposal.mode"] = "delete"
    drive(field, "b", 2, 3)
    field.put(4, "a/a_2")
    field.run_until(lambda: field.arrived(0, 1, 2, 3, 4) and not (bridge.watched / "b").exists())
    shutil.rmtree(bridge.state)
    (bridge.folder / "yesterday").rename(bridge.state)
    drive(field, "b", 2, 5)
    bridge.overrides["ingest.unit"] = "split" if unit == "recording" else "recording"
    with bridge.running():
        arrives(field, 0, 1, 2, 3, 4, 5)


@UNITS
def test_list_that_names_the_files_of_another_folder(field: Field, unit: str) -> None:
    """Two lists were mixed up: all files go, none is deleted with what its list lacks."""
    field.bridge.overrides |= {"disposal.mode": "delete", "ingest.unit": unit}
    drive(field, "a", 0, 1)
    drive(field, "b", 2, 3)
    field.describe("a", "b_0", "b_1")
    field.describe("b", "a_0", "a_1")
    with field.bridge.running():
        arrives(field, 0, 1, 2, 3)


@UNITS
def test_cleaner_takes_the_first_split_while_it_is_sent(field: Field, unit: str) -> None:
    """Whatever the worker has opened by then, the other splits arrive once."""
    bridge = field.bridge
    bridge.overrides |= {"disposal.mode": "delete", "ingest.unit": unit}
    with bridge.running():
        for turn in range(4):
            folder = drive(field, f"d{turn}", *range(3 * turn, 3 * turn + 3))
            bridge.wait_for(lambda: field.states().keys() & {"sending", "verified", "disposed"})
            (folder / f"{folder.name}_0.{field.extension}").unlink(missing_ok=True)
        rest = [number for number in range(12) if number % 3]
        bridge.wait_for(lambda: not once(*rest) - on_platform(field.port))
        bridge.wait_for(lambda: not field.states().keys() & {str(state) for state in UNSETTLED})
    assert set(on_platform(field.port).values()) == {1}


@UNITS
def test_missing_split_that_comes_when_the_folder_has_another_name(field: Field, unit: str) -> None:
    """Partial until then; it alone is sent."""
    bridge = field.bridge
    bridge.overrides["ingest.unit"] = unit
    field.put(0, "drive/drive_0")
    field.put(2, "drive/drive_2")
    field.describe("drive", "drive_0", "drive_1", "drive_2")
    with bridge.running():
        arrives(field, 0, 2)
        (bridge.watched / "drive").rename(bridge.watched / "renamed")
        field.put(1, "renamed/drive_1")
        arrives(field, 0, 1, 2)


@UNITS
def test_root_that_is_removed_and_filled_again(field: Field, unit: str) -> None:
    """With copies of what was there, and more."""
    bridge = field.bridge
    bridge.overrides["ingest.unit"] = unit
    drive(field, "drive", 0, 1)
    field.put(2, "lone")
    shutil.copytree(bridge.watched, bridge.folder / "copy")
    with bridge.running():
        arrives(field, 0, 1, 2)
        shutil.rmtree(bridge.watched)
        time.sleep(2 * PAUSE_S)
        (bridge.folder / "copy").rename(bridge.watched)
        field.put(3, "late")
        arrives(field, 0, 1, 2, 3)


def test_everything_lost_at_once_and_a_backup_put_back(field: Field) -> None:
    """Source deleted, journal lost, one sequence of several lost on the platform."""
    bridge = field.bridge
    bridge.overrides |= {"disposal.mode": "delete", "ingest.unit": "split"}
    folder = drive(field, "drive", 0, 1, 2)
    shutil.copytree(folder, bridge.folder / "backup")
    field.run_until(lambda: not folder.exists())
    assert field.arrived(0, 1, 2)
    with MosaicoClient.connect("127.0.0.1", field.port) as client:
        client.sequence_delete(min(client.list_sequences()))
    field.lose_journal()
    (bridge.folder / "backup").rename(bridge.watched / "restored")
    bridge.overrides["ingest.unit"] = "recording"
    with bridge.running():
        arrives(field, 0, 1, 2)
        leaves(field)
        arrives(field, 0, 1, 2)


def test_names_of_recordings_that_are_no_files(field: Field) -> None:
    """FIFOs, sockets, devices, links to nowhere and to themselves hold nothing up."""
    watched, extension = field.bridge.watched, field.extension
    drive(field, "drive", 0, 1)
    os.mkfifo(watched / f"fifo.{extension}")
    os.mkfifo(watched / "drive" / f"drive_2.{extension}")
    os.mknod(watched / f"null.{extension}", 0o020666, os.makedev(1, 3))
    (watched / f"nowhere.{extension}").symlink_to("gone")
    (watched / f"itself.{extension}").symlink_to(f"itself.{extension}")
    field.put(2, "lone")
    with field.bridge.running():
        arrives(field, 0, 1, 2)
