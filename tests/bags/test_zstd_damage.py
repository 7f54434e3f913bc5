"""Compressed files (`.mcap.zstd`, `.db3.zstd`) cut and overwritten: what stands before it comes.

What must come out of a cut file is told by another binding of the codec (`zstandard`; the reader
uses Arrow's): whatever that gets out of the bytes before the cut is there to be read.
"""

import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
import zstandard
from mcap.writer import CompressionType

from bridge.bags import load_recording, open_recording
from bridge.errors import BridgeError
from tests.bags.mcap.mcap_files import Seen, place_messages, sample, write_with_library
from tests.bags.sqlite.sqlite_files import create, insert

CUT_STEP = 997


def plain_before(packed: bytes, cut: int) -> int:
    """Count the bytes that another binding of the codec gets out of what is before a cut."""
    return len(zstandard.ZstdDecompressor().decompressobj().decompress(packed[:cut]))


class Outcome(NamedTuple):
    """What came of reading: messages, whether these are said to be all, how many unverifiable."""

    found: list[Seen]
    said_whole: bool
    unverifiable: int


def read(path: Path) -> Outcome:
    """Read what can be read; nothing where we refuse."""
    try:
        with open_recording(load_recording(path), scratch_dir=path.parent / "scratch") as reader:
            found = [
                Seen(reader.topics[block.topic].name, int(time), block.data[start:end].tobytes())
                for block in reader.blocks()
                for time, start, end in zip(
                    block.log_times_ns, block.starts, block.ends, strict=True
                )
            ]
            whole = reader.healthy and not reader.is_damaged
            return Outcome(found, whole, reader.tally.unverified_messages)
    except BridgeError:
        return Outcome([], said_whole=False, unverifiable=0)


@pytest.fixture(scope="module")
def mcap(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Some hundred kilobytes that do not compress well, in plain chunks with checksums."""
    path = tmp_path_factory.mktemp("plain") / "drive.mcap"
    noise = random.Random(3)
    messages = [
        message._replace(data=message.data + noise.randbytes(500)) for message in sample(1000)
    ]
    write_with_library(path, messages, chunk_size=16384, compression=CompressionType.NONE)
    return path.read_bytes()


@pytest.fixture(scope="module")
def db3(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Counter[Seen]]:
    """A database of some hundred kilobytes, and its messages."""
    path = tmp_path_factory.mktemp("plain") / "drive_0.db3"
    connection = sqlite3.connect(path)
    create(connection, 4, ["/a", "/b"])
    noise = random.Random(4)
    rows = [(1 + number % 2, number, noise.randbytes(500)) for number in range(800)]
    insert(connection, rows)
    connection.commit()
    connection.close()
    names = {1: "/a", 2: "/b"}
    return path.read_bytes(), Counter(Seen(names[topic], time, data) for topic, time, data in rows)


def sweep_mcap(plain: bytes, path: Path, step: int) -> Counter[str]:
    packed = bytes(pa.compress(plain, codec="zstd", asbytes=True))
    placed = place_messages(plain)
    every = Counter(place.seen for place in placed)
    outcome: Counter[str] = Counter()
    for cut in range(0, len(packed), step):
        path.write_bytes(packed[:cut])
        found, said_whole, _ = read(path)
        reached = plain_before(packed, cut)
        expected = Counter(place.seen for place in placed if place.end <= reached)
        assert not expected - Counter(found), f"cut at {cut}: messages before the cut are missing"
        assert not Counter(found) - every, f"cut at {cut}: messages that were never recorded"
        assert not said_whole, f"cut at {cut}: taken for a whole file"
        outcome += Counter(files=1, messages=len(found))
    return outcome


@pytest.mark.parametrize(
    "step", [40 * CUT_STEP, pytest.param(CUT_STEP, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_cut_mcap_gives_what_can_be_decompressed(mcap: bytes, tmp_path: Path, step: int) -> None:
    """A recorder killed while it compresses costs what was not written yet."""
    outcome = sweep_mcap(mcap, tmp_path / "drive.mcap.zstd", step)
    assert outcome["messages"] > 100


@pytest.mark.parametrize(
    "step", [40 * CUT_STEP, pytest.param(CUT_STEP, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_cut_database_gives_what_was_recorded_and_nothing_else(
    db3: tuple[bytes, Counter[Seen]], tmp_path: Path, step: int
) -> None:
    """The expanded prefix is salvaged page by page, and no scratch file stays behind."""
    plain, every = db3
    packed = bytes(pa.compress(plain, codec="zstd", asbytes=True))
    path = tmp_path / "drive_0.db3.zstd"
    most = 0
    for cut in range(0, len(packed), step):
        path.write_bytes(packed[:cut])
        found, said_whole, _ = read(path)
        assert not Counter(found) - every, f"cut at {cut}: never recorded"
        assert not said_whole, f"cut at {cut}: taken for a whole file"
        most = max(most, len(found))
    assert most > 100
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "seeds", [25, pytest.param(500, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_overwritten_mcap_is_never_called_verified(mcap: bytes, tmp_path: Path, seeds: int) -> None:
    """Behind the compression the chunks' own checksums decide; whatever is lost is told."""
    packed = bytes(pa.compress(mcap, codec="zstd", asbytes=True))
    every = Counter(place.seen for place in place_messages(mcap))
    path = tmp_path / "drive.mcap.zstd"
    lost = 0
    for seed in range(seeds):
        chance = random.Random(seed)
        start = chance.randrange(20, len(packed))
        block = chance.randbytes(min(chance.choice([1, 4, 100, 3000]), len(packed) - start))
        path.write_bytes(packed[:start] + block + packed[start + len(block) :])
        found, said_whole, unverifiable = read(path)
        altered = (Counter(found) - every).total()
        # Where the stream breaks off, the last chunk is torn and its checksum cannot be asked.
        assert altered <= unverifiable, f"seed {seed}: altered and called verified"
        assert len(found) == every.total() or not said_whole, f"seed {seed}: lost without a word"
        lost += every.total() - len(found)
    assert lost > 0
