"""Sqlite3 files cut, overwritten and made up: what is intact arrives, once and unaltered."""

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.bags.container import ReadLimits
from bridge.bags.sqlite.reader import open_sqlite3
from bridge.errors import BridgeError, RecordingLimitError
from tests.bags.sqlite.sqlite_files import Message, create, insert, judged, messages_of, sqlite_file

SHARED = Path(__file__).parents[4] / "shared" / "bags"
REAL = [
    SHARED / "wbag_sqlite3" / "wbag_0.db3",
    SHARED / "tf_example" / "tf_example.db3",
    SHARED / "cdr_test_sqlite3" / "cdr_test_0.db3",
    SHARED / "convert_b_sqlite3" / "rewriter_b_0.db3",
    SHARED / "talker_sqlite3" / "talker.db3",
    *(SHARED / "wbag_sqlite3" / f"wbag_{number}.db3" for number in range(1, 5)),
]
LIMITS = ReadLimits()
PAGE_BYTES = 4096

needs_shared = pytest.mark.skipif(not REAL[0].exists(), reason=f"no recordings in {SHARED}")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with several levels of pages, small rows among rows of many overflow pages."""
    path = tmp_path_factory.mktemp("large") / "bag_0.db3"
    chance = random.Random(7)
    connection = sqlite3.connect(path)
    create(connection, 4, ["/a", "/b"])
    insert(
        connection,
        [
            (1 + index % 2, 10**18 + index, chance.randbytes(60_000 if index % 97 == 0 else 400))
            for index in range(3000)
        ],
    )
    connection.commit()
    connection.close()
    return path


def pages_of(path: Path) -> dict[Message, set[int]]:
    """Find the pages (from 0) that hold each message, by looking for pieces of its payload.

    Pieces lie close enough together that every page of a payload holds one of them whole.
    """
    content = path.read_bytes()
    found: dict[Message, set[int]] = {}
    times: Counter[bytes] = Counter()
    for message in judged(path):
        payload = message[2]
        times[payload] += 1
        pages = set()
        for start in range(0, max(1, len(payload) - 31), 1500):
            for shift in range(64):
                piece = payload[start + shift : start + shift + 32]
                at = content.find(piece)
                if at >= 0:
                    pages.add(at // PAGE_BYTES)
                    break
        pages.add(content.find(payload[-16:]) // PAGE_BYTES)
        found[message] = pages
    return {message: pages for message, pages in found.items() if times[message[2]] == 1}


def read(path: Path) -> tuple[list[Message], bool]:
    """Read what can be read, and whether all is said to be there; an error of ours is neither."""
    try:
        with open_sqlite3(sqlite_file(path), limits=LIMITS) as reader:
            found = messages_of(reader)
            tally = reader.tally
            return found, reader.healthy and not tally.losses and not tally.skipped
    except BridgeError:
        return [], False


def check(
    path: Path, truth: dict[Message, set[int]], touched: set[int], needed: set[int]
) -> Counter[Message]:
    """Judge a damaged file by the pages that were not touched; give what came."""
    found, said_whole = read(path)
    counts = Counter(found)
    if not touched & needed:
        missing = [m for m, pages in truth.items() if not pages & touched and m not in counts]
        assert not missing
    # A payload copied over another of the same length makes a message of its row, and nothing in
    # the format forbids that: so many more may come twice as are lost where it was touched.
    twice = sum(counts[message] > 1 for message in truth)
    lost = sum(bool(pages & touched) and not counts[message] for message, pages in truth.items())
    assert twice <= lost
    assert len(found) >= len(truth) or not said_whole
    return counts


def small_tables(path: Path) -> set[int]:
    """The pages (from 0) of the tables that name topics."""
    content = path.read_bytes()
    with sqlite3.connect(path) as connection:
        marks = [str(name).encode() for (name,) in connection.execute("SELECT type FROM topics")]
    connection.close()
    return {content.find(mark) // PAGE_BYTES for mark in marks} | {
        index
        for index in range(len(content) // PAGE_BYTES)
        if any(mark in content[index * PAGE_BYTES : (index + 1) * PAGE_BYTES] for mark in marks)
    }


def cuts(size: int, step: int) -> Iterator[int]:
    yield from range(0, size, step)
    yield from (size - 1, size - 100, PAGE_BYTES, PAGE_BYTES - 1, 99, 100, 16, 15)


def sweep_cuts(path: Path, tmp_path: Path, step: int) -> None:
    content = path.read_bytes()
    truth = pages_of(path)
    whole = set(judged(path))
    needed = small_tables(path)
    victim = tmp_path / "cut.db3"
    best = 0
    for cut in cuts(len(content), step):
        victim.write_bytes(content[:cut])
        touched = set(range(cut // PAGE_BYTES, len(content) // PAGE_BYTES + 1))
        found = check(victim, truth, touched, needed)
        best = max(best, found.total())
        assert set(found) <= whole
        assert max((found[message] for message in truth), default=0) <= 1
        assert victim.read_bytes() == content[:cut]

    assert best > 0.5 * len(truth)


@needs_shared
@pytest.mark.parametrize("path", REAL[:2], ids=lambda path: path.stem)
def test_real_file_cut_here_and_there(path: Path, tmp_path: Path) -> None:
    """A real file cut at some places gives every message of the pages that are left."""
    sweep_cuts(path, tmp_path, 9973)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_file_cut_everywhere(path: Path, tmp_path: Path) -> None:
    """A real file cut at every 97th byte gives every message of the pages that are left."""
    sweep_cuts(path, tmp_path, 97)


def test_large_file_cut_here_and_there(large: Path, tmp_path: Path) -> None:
    """Chains of overflow pages that are cut are not taken for messages."""
    sweep_cuts(large, tmp_path, 499_979)


def overwrite(path: Path, victim: Path, chance: random.Random) -> set[int]:
    """Overwrite one to three places of a copy; give the pages (from 0) that were touched."""
    content = bytearray(path.read_bytes())
    touched: set[int] = set()
    for _ in range(chance.randint(1, 3)):
        length = chance.choice([1, 16, 512, PAGE_BYTES, 20_000])
        start = chance.randrange(len(content) - 1)
        if length == PAGE_BYTES:
            start -= start % PAGE_BYTES
        length = min(length, len(content) - start)
        other = chance.randrange(len(content) - length + 1)
        content[start : start + length] = chance.choice(
            [bytes(length), chance.randbytes(length), bytes(content[other : other + length])]
        )
        touched |= set(range(start // PAGE_BYTES, (start + length - 1) // PAGE_BYTES + 1))
    victim.write_bytes(content)
    return touched


def sweep_overwrites(path: Path, tmp_path: Path, rounds: int) -> None:
    truth = pages_of(path)
    needed = small_tables(path)
    victim = tmp_path / "overwritten.db3"
    for seed in range(rounds):
        touched = overwrite(path, victim, random.Random(seed))
        try:
            check(victim, truth, touched, needed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, pages {sorted(touched)}") from error


@needs_shared
@pytest.mark.parametrize("path", REAL[:2], ids=lambda path: path.stem)
def test_real_file_overwritten(path: Path, tmp_path: Path) -> None:
    """A real file with blocks overwritten gives every message of the pages left alone, once."""
    sweep_overwrites(path, tmp_path, 40)


def test_large_file_overwritten(large: Path, tmp_path: Path) -> None:
    """Damage in trees and chains takes nothing but what it touches."""
    sweep_overwrites(large, tmp_path, 12)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_file_overwritten_a_lot(path: Path, tmp_path: Path) -> None:
    """The same, two thousand times."""
    sweep_overwrites(path, tmp_path, 2000)


@needs_shared
@pytest.mark.parametrize("value", [0x00, 0x20, 0xFF])
def test_no_byte_of_the_header_is_worth_a_message(tmp_path: Path, value: int) -> None:
    """Any byte of the file's header may be wrong: every message still arrives, once."""
    path = REAL[0]
    content = path.read_bytes()
    whole = Counter(judged(path))
    victim = tmp_path / "header.db3"
    for place in range(100):
        victim.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
        found, _ = read(victim)
        assert Counter(found) == whole, f"byte {place}"


def test_stale_copies_of_pages_are_not_read_twice(large: Path, tmp_path: Path) -> None:
    """Pages that a killed recorder left behind the end hold rows that are elsewhere as well."""
    content = large.read_bytes()
    pages = [content[at : at + PAGE_BYTES] for at in range(0, len(content), PAGE_BYTES)]
    leaves = [page for page in pages[4:] if page[0] == 13]
    victim = tmp_path / "stale.db3"
    victim.write_bytes(content + b"".join(leaves[:20]))

    found, said_whole = read(victim)

    assert Counter(found) == Counter(judged(large))
    assert not said_whole


def made(path: Path, rows: list[tuple[int, int, bytes]]) -> Path:
    connection = sqlite3.connect(path)
    create(connection, 4, ["/a", "/b"])
    insert(connection, rows)
    connection.commit()
    connection.close()
    return path


def test_row_whose_id_is_damaged_takes_no_other_with_it(tmp_path: Path) -> None:
    """Two rows under one id, for a byte of one was changed, are both read."""
    path = made(
        tmp_path / "a.db3", [(2, 10**18 + i, i.to_bytes(4, "big") * 10) for i in range(600)]
    )
    content = bytearray(path.read_bytes())
    payload_at = content.find((299).to_bytes(4, "big") * 10)
    # Row 300: its id takes two bytes, 7 bits each, somewhere before its payload.
    id_at = content.rfind(bytes([0x82, 0x2C]), payload_at - 24, payload_at)
    content[id_at : id_at + 2] = bytes([0x84, 0x10])
    victim = tmp_path / "b.db3"
    victim.write_bytes(content)

    found, said_whole = read(victim)

    assert Counter(found) == Counter(judged(path))
    assert not said_whole


def test_rows_of_every_length_around_a_page_are_salvaged(tmp_path: Path) -> None:
    """Rows that just fit a page, just do not, and end anywhere in an overflow page."""
    lengths = [*range(4020, 4080), *range(8090, 8170), *range(440, 500)]
    chance = random.Random(3)
    path = made(tmp_path / "a.db3", [(1, n, chance.randbytes(n)) for n in lengths])
    victim = tmp_path / "b.db3"
    victim.write_bytes(path.read_bytes() + b"\1")

    found, said_whole = read(victim)

    assert Counter(found) == Counter(judged(path))
    assert not said_whole


def test_cut_is_seen_without_a_count_of_pages(tmp_path: Path) -> None:
    """A header that old software left without a count does not make zeros out of lost bytes."""
    path = made(tmp_path / "a.db3", [(1, i, bytes([i]) * 300) for i in range(200)])
    content = bytearray(path.read_bytes()[:-1])
    content[92:96] = bytes(4)
    victim = tmp_path / "b.db3"
    victim.write_bytes(content)

    found, said_whole = read(victim)

    assert set(found) <= set(judged(path))
    assert not said_whole


def test_too_many_topics_are_refused_in_damaged_files_too(tmp_path: Path) -> None:
    """The limit on topics holds for those that are found page by page."""
    path = tmp_path / "a.db3"
    connection = sqlite3.connect(path)
    create(connection, 4, [f"/t{index}" for index in range(11)])
    connection.commit()
    connection.close()
    with path.open("ab") as file:
        file.write(b"x")

    with pytest.raises(RecordingLimitError) as caught:
        open_sqlite3(sqlite_file(path), limits=ReadLimits(channels_max=10))
    assert caught.value.path == path
