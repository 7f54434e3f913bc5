"""What a sqlite3 file says of itself decides nothing, and costs no more than its size is worth."""

import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from bridge.bags import ReadLimits
from bridge.bags.sqlite.reader import open_sqlite3
from tests.bags.sqlite.sqlite_files import (
    create,
    insert,
    judged,
    messages_of,
    payloads,
    sqlite_file,
)

PAGE_BYTES = 4096


def made(path: Path, rows: list[tuple[int, int, bytes]]) -> Path:
    connection = sqlite3.connect(path)
    create(connection, 4, ["/a", "/b"])
    insert(connection, rows)
    connection.commit()
    connection.close()
    return path


@pytest.mark.parametrize("size", [1, 4096, 100_000])
def test_zeros_behind_the_last_page_are_no_damage(tmp_path: Path, size: int) -> None:
    """A file system that makes room in advance leaves them."""
    path = made(tmp_path / "a.db3", payloads(500))
    longer = tmp_path / "b.db3"
    longer.write_bytes(path.read_bytes() + bytes(size))
    with open_sqlite3(sqlite_file(longer), limits=ReadLimits()) as reader:
        found = messages_of(reader)

        assert Counter(found) == Counter(judged(path))
        assert reader.healthy
        assert not reader.tally.losses
        assert list(reader.tally.contradictions) == ["zeros behind the end of the file's content"]


def test_zeroed_page_costs_its_rows_and_no_other(tmp_path: Path) -> None:
    """A hole that a power cut leaves in the middle."""
    path = made(tmp_path / "a.db3", payloads(2000, size_bytes=200))
    content = bytearray(path.read_bytes())
    leaf = next(
        start
        for start in range(40 * PAGE_BYTES, len(content), PAGE_BYTES)
        if content[start] == 13  # a page of rows
    )
    rows = int.from_bytes(content[leaf + 3 : leaf + 5], "big")
    content[leaf : leaf + PAGE_BYTES] = bytes(PAGE_BYTES)
    holed = tmp_path / "b.db3"
    holed.write_bytes(content)
    with open_sqlite3(sqlite_file(holed), limits=ReadLimits()) as reader:
        found = Counter(messages_of(reader))

        assert not found - Counter(judged(path))
        assert found.total() == 2000 - rows
        assert not reader.healthy
        assert reader.tally.losses


def test_index_that_counts_other_rows_is_a_wrong_claim(tmp_path: Path) -> None:
    """The rows are all there, in their own table; the index of times lacks some of them."""
    path = made(tmp_path / "a.db3", payloads(300))
    expected = Counter(judged(path))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_master SET sql = 'CREATE INDEX timestamp_idx ON messages (timestamp ASC)"
        " WHERE topic_id > 1' WHERE name = 'timestamp_idx'"
    )
    connection.execute("PRAGMA writable_schema = RESET")
    connection.execute("REINDEX timestamp_idx")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_master SET sql = 'CREATE INDEX timestamp_idx ON messages (timestamp ASC)'"
        " WHERE name = 'timestamp_idx'"
    )
    connection.commit()
    connection.close()
    with open_sqlite3(sqlite_file(path), limits=ReadLimits()) as reader:
        assert Counter(messages_of(reader)) == expected
        assert not reader.tally.losses


def same_ids(path: Path, copies: int) -> Path:
    """Append pages that all hold the same row ids, each with other payloads."""
    content = made(path, payloads(200)).read_bytes()
    leaf = next(
        content[start : start + PAGE_BYTES]
        for start in range(PAGE_BYTES, len(content), PAGE_BYTES)
        if content[start] == 13 and int.from_bytes(content[start + 3 : start + 5], "big") > 20
    )
    payload = leaf.index(bytes([60, 0, 0, 0]) * 3) if bytes([60, 0, 0, 0]) * 3 in leaf else -8
    strays = b"".join(
        leaf[:payload] + number.to_bytes(4, "little") + leaf[payload:][4:]
        for number in range(1000, 1000 + copies)
    )
    path.write_bytes(content + strays)
    return path


def one_chain(path: Path, size: int) -> Path:
    """Append pages whose rows all lead into one long chain of pages that never ends well."""
    content = bytearray(made(path, [(1, 1, bytes([7]) * (PAGE_BYTES - 4) * size)]).read_bytes())
    leaf = next(
        start
        for start in range(PAGE_BYTES, len(content), PAGE_BYTES)
        if content[start] == 13 and content[start + 3 : start + 5] == b"\x00\x01"
    )
    for start in range(0, len(content), PAGE_BYTES):
        if content[start : start + 4] == bytes(4) and content[start + 8] == 7:
            content[start : start + 4] = (1).to_bytes(4, "big")
    path.write_bytes(bytes(content) + bytes(content[leaf : leaf + PAGE_BYTES]) * size)
    return path


def seconds(path: Path) -> float:
    """Measure how long reading keeps the processor busy, the fastest of three times."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        with open_sqlite3(sqlite_file(path), limits=ReadLimits()) as reader:
            messages_of(reader)
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.parametrize("crafted", [same_ids, one_chain])
def test_search_for_stray_rows_takes_time_in_proportion_to_the_file(
    tmp_path: Path, crafted: type
) -> None:
    """Four times the pages take about four times as long, not sixteen times."""
    few = seconds(crafted(tmp_path / "few.db3", 150))
    many = seconds(crafted(tmp_path / "many.db3", 600))

    assert many < 9 * few
