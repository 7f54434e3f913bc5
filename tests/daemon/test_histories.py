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

from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from tests.daemon.conftest import ROOT
from tests.daemon.settings_file import written
from tests.daemon.test_parts import Field, split_bytes
from tests.daemon.test_splits import metadata

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

pytestmark = pytest.mark.slow
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
