"""Write-ahead logs and journals left beside a database by a recorder that was killed."""

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from bridge.bags import scratch
from bridge.bags.container import ReadLimits
from bridge.bags.sqlite import copy as sqlite_copy
from bridge.bags.sqlite.reader import open_sqlite3
from bridge.errors import RecordingChangedError, ScratchSpaceError
from tests.bags.sqlite.sqlite_files import (
    create,
    insert,
    judged,
    messages_of,
    payloads,
    sqlite_file,
)

LIMITS = ReadLimits()


def killed(folder: Path, *, journal_mode: str) -> tuple[Path, list[tuple[str, int, bytes]]]:
    """Leave files as a recorder leaves them that is killed in its last transaction.

    Returns the database and what was committed.
    """
    live = folder / "live" / "bag_0.db3"
    left = folder / "left" / "bag_0.db3"
    live.parent.mkdir()
    rows = payloads(2500)
    connection = sqlite3.connect(live, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {journal_mode}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA cache_size = 2")
    create(connection, 3, ["/a", "/b"])
    for part in (rows[:1800], rows[1800:]):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("BEGIN")
        insert(connection, part)
        connection.execute("COMMIT")
    connection.execute("BEGIN")
    insert(connection, payloads(3000))
    shutil.copytree(live.parent, left.parent)
    connection.execute("ROLLBACK")
    connection.close()
    return left, [("/a" if topic == 1 else "/b", time, data) for topic, time, data in rows]


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize(("journal_mode", "sidecar"), [("WAL", "-wal"), ("DELETE", "-journal")])
def test_every_committed_row_and_no_other_is_read(
    tmp_path: Path, journal_mode: str, sidecar: str
) -> None:
    """The log's committed rows arrive, a half-written transaction is undone, nothing is touched."""
    path, committed = killed(tmp_path, journal_mode=journal_mode)
    work = tmp_path / "scratch"
    work.mkdir()
    before = content_of(path.parent)
    assert before[path.name + sidecar][0]

    with open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=work) as reader:
        found = messages_of(reader)
        assert reader.metadata["recovered"] == (sidecar,)
        assert not reader.healthy
        assert not reader.tally.losses
        (private,) = work.iterdir()
        assert private.name.startswith(scratch.SCRATCH_PREFIX)
        assert stat.S_IMODE(private.stat().st_mode) == 0o700

    assert sorted(found) == sorted(committed)
    assert content_of(path.parent) == before
    assert not list(work.iterdir())


def test_ignoring_the_log_would_lose_rows(tmp_path: Path) -> None:
    """The judge of the test above: the database alone has not all that was committed."""
    path, committed = killed(tmp_path, journal_mode="WAL")
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    (alone,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    connection.close()

    assert alone < len(committed)


def test_empty_sidecars_need_no_copy(tmp_path: Path) -> None:
    """A log of no bytes says nothing, so the source itself is read."""
    path, _ = killed(tmp_path, journal_mode="DELETE")
    path.with_name("bag_0.db3-journal").write_bytes(b"")
    path.with_name("bag_0.db3-wal").write_bytes(b"")

    with open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=tmp_path / "no") as reader:
        assert reader.metadata["recovered"] == ()


def test_closed_database_in_log_mode_gets_no_new_sidecars(tmp_path: Path) -> None:
    """A recorder in log mode that was closed well leaves one file, and reading leaves one file."""
    path = tmp_path / "bag_0.db3"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    create(connection, 3, ["/a", "/b"])
    insert(connection, payloads(100))
    connection.close()
    before = content_of(tmp_path)

    with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
        found = messages_of(reader)
        during = content_of(tmp_path)

    assert len(found) == 100
    assert list(before) == ["bag_0.db3"]
    assert during == before
    assert content_of(tmp_path) == before


def test_log_that_belongs_to_another_database_changes_nothing(tmp_path: Path) -> None:
    """A foreign or torn log is passed over as SQLite passes it over."""
    path = tmp_path / "bag_0.db3"
    connection = sqlite3.connect(path)
    create(connection, 3, ["/a", "/b"])
    insert(connection, payloads(100))
    connection.commit()
    connection.close()
    path.with_name("bag_0.db3-wal").write_bytes(os.urandom(5000))

    with open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=tmp_path) as reader:
        assert len(messages_of(reader)) == 100


def test_space_for_the_copy_is_checked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room for the copy nothing is written, and the recording is not blamed."""
    path, _ = killed(tmp_path, journal_mode="WAL")
    work = tmp_path / "scratch"
    work.mkdir()
    monkeypatch.setattr(scratch, "FREE_BYTES_MIN", 1 << 60)

    with pytest.raises(ScratchSpaceError) as caught:
        open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=work)

    sizes = [part.stat().st_size for part in path.parent.iterdir() if "shm" not in part.name]
    assert caught.value.needed_bytes > sum(sizes)
    assert caught.value.retryable
    assert not list(work.iterdir())


def test_scratch_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """A scratch folder that cannot be is nobody's damage."""
    path, _ = killed(tmp_path, journal_mode="WAL")
    (tmp_path / "file").touch()

    with pytest.raises(ScratchSpaceError):
        open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=tmp_path / "file" / "scratch")


def test_database_that_is_written_while_it_is_copied_is_tried_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of a moving target is worthless, and trying again helps."""
    path, _ = killed(tmp_path, journal_mode="WAL")
    monkeypatch.setattr(sqlite_copy, "_COPY_BYTES", 1 << 16)
    real_pread = os.pread

    def growing(descriptor: int, size: int, offset: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"more")
        monkeypatch.setattr(os, "pread", real_pread)
        return real_pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", growing)

    with pytest.raises(RecordingChangedError) as caught:
        open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=tmp_path)
    assert caught.value.retryable


def test_unreadable_descriptors_are_not_leaked(tmp_path: Path) -> None:
    """Opening and failing many times keeps no file open."""
    path, _ = killed(tmp_path, journal_mode="WAL")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(ScratchSpaceError):
            open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=path / "no folder")
        with open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=tmp_path) as reader:
            reader.close()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_schema_that_is_no_text_is_damage_like_any_other(tmp_path: Path) -> None:
    """What SQLite quotes in its complaint need not be UTF-8; the rows are salvaged all the same."""
    path = tmp_path / "bag_0.db3"
    with sqlite3.connect(path) as connection:
        create(connection, 4, ["/a", "/b"])
        insert(connection, payloads(100))
    connection.close()
    expected = sorted(judged(path))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE messages", b"CREATE TAB\xc6\xff messages"))
    (tmp_path / "bag_0.db3-wal").write_bytes(b"no log at all")

    with open_sqlite3(sqlite_file(path), limits=LIMITS, scratch_dir=tmp_path) as reader:
        assert sorted(messages_of(reader)) == expected
        assert not reader.healthy
