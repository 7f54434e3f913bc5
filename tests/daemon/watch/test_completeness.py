"""Completeness: every rule, on real files made by real writers."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from mcap.writer import Writer as McapWriter

from bridge.bags import End, end_of, load_recording
from bridge.daemon.watch.completeness import Rule, Verdict, gather, judge
from bridge.daemon.watch.open_files import Writer, by_lease, by_proc, writer_of
from bridge.model import Container, Recording, RecordingFile


def mcap_bytes(messages: int = 3) -> bytes:
    stream = BytesIO()
    writer = McapWriter(stream)
    writer.start(profile="ros2")
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
    channel = writer.register_channel("/chatter", "cdr", schema)
    for index in range(messages):
        writer.add_message(channel, log_time=index, publish_time=index, data=b"\0\1\0\0")
    writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return stream.getvalue()


def lone(path: Path, container: Container = Container.MCAP, compression: str = "") -> Recording:
    size_bytes = path.stat().st_size
    file = RecordingFile(
        path=path, size_bytes=size_bytes, container=container, compression=compression
    )
    return Recording(path=path, name=path.stem, files=(file,))


def folder(path: Path, *names: str, hints: dict[str, object] | None = None) -> Recording:
    files = tuple(lone(path / name).files[0] for name in names)
    return Recording(path=path, name=path.name, files=files, hints=hints or {})


def verdict(
    recording: Recording,
    *,
    quiet_s: float = 0.0,
    writer: Writer = Writer.NOBODY,
) -> Verdict:
    facts = gather(recording, check=lambda _path: writer)
    return judge(facts, quiet_s=quiet_s, settle_s=5.0, stale_s=300.0)


def test_closed_recording_is_taken_at_once(tmp_path: Path) -> None:
    """With a proper end and proof that nobody writes, there is no waiting."""
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap_bytes())
    found = verdict(lone(path))

    assert (found.rule, found.complete, found.salvage) == (Rule.CLOSED, True, False)


def test_without_proof_a_whole_recording_settles_first(tmp_path: Path) -> None:
    """Where writers cannot be seen, quiet time decides, and the verdict says for how long."""
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap_bytes())
    early = verdict(lone(path), quiet_s=2.0, writer=Writer.UNKNOWN)
    late = verdict(lone(path), quiet_s=5.0, writer=Writer.UNKNOWN)

    assert (early.rule, early.complete, early.wait_s) == (Rule.SETTLING, False, 3.0)
    assert (late.rule, late.complete, late.salvage) == (Rule.QUIET, True, False)


def test_numbered_file_settles_even_if_closed(tmp_path: Path) -> None:
    """Lone splits of ROS 1 arrive one by one; the next may be a moment away."""
    path = tmp_path / "drive_0.bag"
    index = b"#ROSBAG V2.0\n" + bytes(8) + b"\x12\0\0\0index_pos=" + (4117).to_bytes(8, "little")
    path.write_bytes(index.ljust(5000, b" "))
    other = tmp_path / "drive_0.mcap"
    other.write_bytes(mcap_bytes())

    assert verdict(load_recording(path)).rule is Rule.SETTLING
    assert verdict(load_recording(path), quiet_s=5.0).rule is Rule.QUIET
    assert verdict(load_recording(other)).rule is Rule.CLOSED


def test_open_recording_waits_for_ever(tmp_path: Path) -> None:
    """A file that somebody writes is never taken, however long it has been quiet."""
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap_bytes()[:50])
    found = verdict(lone(path), quiet_s=1e9, writer=Writer.SOMEBODY)

    assert (found.rule, found.complete, found.wait_s) == (Rule.OPEN_FOR_WRITING, False, None)


@pytest.mark.parametrize("size_bytes", [0, 1, 8, 60, -1, -8, -37])
def test_cut_recording_is_salvaged_only_when_stale(tmp_path: Path, size_bytes: int) -> None:
    """A file without its end waits for one, and is salvaged when none comes."""
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap_bytes()[:size_bytes])
    early, late = (verdict(lone(path), quiet_s=quiet_s) for quiet_s in (299.0, 300.0))

    assert (early.rule, early.complete, early.wait_s) == (Rule.NO_PROPER_END, False, 1.0)
    assert (late.rule, late.complete, late.salvage) == (Rule.CUT_OFF, True, True)


def test_mcap_is_whole_only_uncut(tmp_path: Path) -> None:
    """Of all lengths of an MCAP file only the full one has its proper end."""
    path = tmp_path / "a.mcap"
    whole = mcap_bytes()
    ends = set()
    for length in range(1, len(whole) + 1):
        path.write_bytes(whole[:length])
        if end_of(lone(path).files[0]) is End.PROPER:
            ends.add(length)

    assert ends == {len(whole)}


def test_preallocated_file_is_not_whole(tmp_path: Path) -> None:
    """A copier that reserves the space first leaves zeros where the end will be."""
    path = tmp_path / "a.mcap"
    whole = mcap_bytes()
    path.write_bytes(whole[:100] + bytes(len(whole) - 100))

    assert end_of(lone(path).files[0]) is End.MISSING


@pytest.mark.parametrize("zeros", [1, 4096, 200_000])
def test_zeros_behind_a_proper_end_are_waited_for_by_nobody(tmp_path: Path, zeros: int) -> None:
    """A file system that made room in advance leaves them; without the end they prove nothing."""
    path, database = tmp_path / "a.mcap", tmp_path / "a.db3"
    whole = mcap_bytes()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE messages (data BLOB)")
    path.write_bytes(whole + bytes(zeros))
    database.write_bytes(database.read_bytes() + bytes(zeros))
    assert end_of(lone(path).files[0]) is End.PROPER
    assert end_of(lone(database, Container.SQLITE3).files[0]) is End.PROPER
    path.write_bytes(whole[:-1] + bytes(zeros))
    database.write_bytes(database.read_bytes() + b"x")

    assert end_of(lone(path).files[0]) is End.MISSING
    assert end_of(lone(database, Container.SQLITE3).files[0]) is End.MISSING


@pytest.mark.parametrize("parts", [1, 3])
def test_zstd_file_is_whole_only_uncut(tmp_path: Path, parts: int) -> None:
    """A compressed file is followed block by block to the end of its last frame."""
    frames = [bytes(pa.compress(os.urandom(300_000), codec="zstd", asbytes=True))] * parts
    whole = b"".join(frames)
    path = tmp_path / "a.mcap.zstd"
    ends = set()
    for length in [*range(1, len(whole), 4999), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:length])
        if end_of(lone(path, compression="zstd").files[0]) is End.PROPER:
            ends.add(length)
    path.write_bytes(whole + b"\0")

    assert ends == {len(whole)}
    assert end_of(lone(path, compression="zstd").files[0]) is End.MISSING


@pytest.mark.parametrize("index_position", [0, 300])
def test_ros1_bag_is_whole_once_its_index_is_known(tmp_path: Path, index_position: int) -> None:
    """The ROS 1 recorder fills in the index position last."""
    field = b"index_pos=" + index_position.to_bytes(8, "little")
    path = tmp_path / "a.bag"
    path.write_bytes(b"#ROSBAG V2.0\n" + len(field).to_bytes(4, "little") + field + bytes(400))
    found = end_of(lone(path, Container.ROSBAG1).files[0])

    assert found is (End.PROPER if index_position else End.MISSING)


def test_sqlite_is_whole_without_journal_and_at_full_length(tmp_path: Path) -> None:
    """An open WAL, a hot journal and a missing page are each seen."""
    path = tmp_path / "a.db3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE messages (data BLOB)")
    connection.commit()
    while_open = end_of(lone(path, Container.SQLITE3).files[0])
    connection.close()
    after_close = end_of(lone(path, Container.SQLITE3).files[0])
    path.write_bytes(path.read_bytes()[:-1])
    cut = end_of(lone(path, Container.SQLITE3).files[0])

    assert [while_open, after_close, cut] == [End.SIDECAR, End.PROPER, End.MISSING]


def test_open_journal_makes_a_recording_wait_then_be_salvaged(tmp_path: Path) -> None:
    """A WAL that nobody has open any more is waited for like a missing end."""
    path = tmp_path / "a.db3"
    path.write_bytes(b"x")
    (tmp_path / "a.db3-wal").write_bytes(b"rows")
    early, late = (
        verdict(lone(path, Container.SQLITE3), quiet_s=quiet_s) for quiet_s in (0.0, 300.0)
    )

    assert (early.rule, early.complete) == (Rule.SIDECAR_PRESENT, False)
    assert (late.rule, late.complete, late.salvage) == (Rule.CUT_OFF, True, True)


def test_folder_waits_for_its_metadata(tmp_path: Path) -> None:
    """Closed splits without metadata.yaml may be joined by another; stale, they are taken."""
    (tmp_path / "a_0.mcap").write_bytes(mcap_bytes())
    early, late = (verdict(folder(tmp_path, "a_0.mcap"), quiet_s=q) for q in (0.0, 300.0))
    (tmp_path / "metadata.yaml").touch()
    now = verdict(folder(tmp_path, "a_0.mcap"))

    assert (early.rule, early.complete) == (Rule.METADATA_MISSING, False)
    assert (late.rule, late.complete, late.salvage) == (Rule.CUT_OFF, True, False)
    assert (now.rule, now.complete) == (Rule.CLOSED, True)


def test_metadata_before_the_last_footer_is_not_believed(tmp_path: Path) -> None:
    """rosbag2 writes metadata.yaml before it closes the last file."""
    (tmp_path / "a_0.mcap").write_bytes(mcap_bytes())
    (tmp_path / "a_1.mcap").write_bytes(mcap_bytes()[:-20])
    (tmp_path / "metadata.yaml").touch()
    found = verdict(folder(tmp_path, "a_0.mcap", "a_1.mcap"))

    assert (found.rule, found.complete) == (Rule.NO_PROPER_END, False)


@pytest.mark.parametrize("content", [None, b"", b"version https://git-lfs.github.com/spec/v1\n"])
@pytest.mark.parametrize("listed", ["a_1.mcap", "sub/a_1.mcap"])
def test_folder_waits_for_the_splits_its_metadata_names(
    tmp_path: Path, listed: str, content: bytes | None
) -> None:
    """A listed split may still be on its way, be a pointer to itself, or have been deleted."""
    (tmp_path / "a_0.mcap").write_bytes(mcap_bytes())
    if content is not None:
        (tmp_path / "a_1.mcap").write_bytes(content)
    text = f"rosbag2_bagfile_information: {{relative_file_paths: [a_0.mcap, {listed}, ~, '']}}"
    (tmp_path / "metadata.yaml").write_text(text)
    early, late = (verdict(load_recording(tmp_path), quiet_s=q) for q in (0.0, 300.0))

    assert (early.rule, early.complete) == (Rule.SPLITS_MISSING, False)
    assert (late.rule, late.complete, late.salvage) == (Rule.CUT_OFF, True, False)


@pytest.mark.parametrize(
    "name",
    [".a_1.mcap.Xb3kQ9", "a_1.mcap.part", ".syncthing.a_1.db3.tmp", "a_1.mcap.0badcafe.partial"],
)
def test_folder_waits_for_what_is_being_copied_into_it(tmp_path: Path, name: str) -> None:
    """A temporary file of rsync beside whole splits means that more is coming."""
    (tmp_path / "a_0.mcap").write_bytes(mcap_bytes())
    (tmp_path / "metadata.yaml").touch()
    (tmp_path / name).touch()
    found = verdict(folder(tmp_path, "a_0.mcap"))

    assert (found.rule, found.complete) == (Rule.STILL_ARRIVING, False)


def test_gone_and_odd_files_are_not_opened(tmp_path: Path) -> None:
    """A file that is gone, a link and a FIFO are refused at once instead of blocking."""
    target = tmp_path / "t.mcap"
    target.write_bytes(mcap_bytes())
    recording = lone(target)
    os.mkfifo(tmp_path / "fifo.mcap")
    (tmp_path / "link.mcap").symlink_to(target)
    began_s = time.monotonic()
    odd = [verdict(lone(tmp_path / name)).rule for name in ("link.mcap", "fifo.mcap")]
    target.unlink()

    assert odd == [Rule.UNREADABLE, Rule.UNREADABLE]
    assert verdict(recording).rule is Rule.GONE
    assert time.monotonic() - began_s < 1


def _hold(path: Path, flags: int, ready: "multiprocessing.synchronize.Event") -> None:
    os.open(path, flags)
    ready.set()
    time.sleep(60)


@pytest.mark.parametrize("ask", [by_lease, by_proc, writer_of])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (os.O_WRONLY, Writer.SOMEBODY),
        (os.O_RDWR, Writer.SOMEBODY),
        (os.O_RDONLY, Writer.NOBODY),
    ],
)
def test_writer_in_another_process_is_seen(
    tmp_path: Path, ask: Callable[[Path], Writer], flags: int, expected: Writer
) -> None:
    """Lease and /proc both tell a writer from a reader."""
    path = tmp_path / "a.mcap"
    path.touch()
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=_hold, args=(path, flags, ready))
    process.start()
    try:
        assert ready.wait(30)
        answers = {ask(path)}
    finally:
        process.kill()
        process.join()

    if ask is by_proc and expected is Writer.NOBODY:
        # A process that may not look at all others must not conclude that nobody writes.
        assert answers <= {Writer.NOBODY, Writer.UNKNOWN}
    else:
        assert answers == {expected}
    assert writer_of(path) is not Writer.SOMEBODY


LEASE_RACE = """
import os, signal, sys, time
from pathlib import Path
from bridge.daemon.watch.open_files import by_lease
path = Path(sys.argv[1])
end = time.monotonic() + 1.5
while time.monotonic() < end:
    by_lease(path)
print("alive")
"""


def test_lease_race_kills_nobody(tmp_path: Path) -> None:
    """A writer that opens the file in the instant of the test neither waits nor kills us."""
    path = tmp_path / "a.mcap"
    path.touch()
    asker = subprocess.Popen(
        [sys.executable, "-c", LEASE_RACE, str(path)], stdout=subprocess.PIPE, text=True
    )
    slowest_s = 0.0
    opened = threading.Event()
    while asker.poll() is None:
        began_s = time.monotonic()
        os.close(os.open(path, os.O_WRONLY))
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        opened.set()
    output, _ = asker.communicate()

    assert opened.is_set()
    assert asker.returncode != -signal.SIGIO
    assert (asker.returncode, output) == (0, "alive\n")
    assert slowest_s < 1
