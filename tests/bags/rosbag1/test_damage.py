"""ROS 1 bags cut, overwritten and made up: what is intact arrives, once and unaltered."""

import bz2
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.bags.container import ReadLimits
from bridge.bags.rosbag1.chunk import read_chunk
from bridge.bags.rosbag1.reader import open_rosbag1
from bridge.errors import BridgeError
from tests.bags.rosbag1.rosbag1_files import (
    MAGIC,
    Made,
    Message,
    connection,
    judged,
    make,
    message,
    records_of,
    rosbag1_file,
)
from tests.bags.sqlite.sqlite_files import messages_of

JACKAL = Path(__file__).parents[4] / "shared" / "bags" / "jackal_imu_odom.bag"
LIMITS = ReadLimits()

needs_jackal = pytest.mark.skipif(not JACKAL.exists(), reason=f"no recording at {JACKAL}")


def some(count: int, seed: int = 0) -> list[Message]:
    chance = random.Random(seed)
    return [
        (("/a", "/b")[index % 2], 10**18 + index, chance.randbytes(chance.randint(16, 300)))
        for index in range(count)
    ]


def read(path: Path) -> tuple[Counter[Message], bool]:
    """Read what can be read, and whether all is said to be there; an error of ours is neither."""
    try:
        with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
            found = messages_of(reader)
            tally = reader.tally
            return Counter(found), reader.healthy and not tally.losses and not tally.skipped
    except BridgeError:
        return Counter(), False


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
@pytest.mark.parametrize("indexed", [True, False])
def test_bag_cut_anywhere_gives_what_comes_before(
    tmp_path: Path, compression: str, *, indexed: bool
) -> None:
    """Every message whose bytes are left arrives, and none that is not in the whole bag."""
    made = make(some(60), compression=compression, indexed=indexed, per_chunk=15)
    path = tmp_path / "a.bag"
    whole = Counter(made.messages)
    for cut in (*range(0, len(made.data), 211), len(made.data) - 1):
        path.write_bytes(made.data[:cut])
        found, said_whole = read(path)
        assert found <= whole
        intact = [m for m, (_, end) in zip(made.messages, made.ranges, strict=True) if end <= cut]
        assert not Counter(intact) - found
        assert not said_whole
        assert path.read_bytes() == made.data[:cut]


def declarations_of(made: Made) -> list[int]:
    """Where the connection records of the bag begin."""
    places = []
    at = made.data.find(b"op=\x07")
    while at >= 0:
        places.append(at)
        at = made.data.find(b"op=\x07", at + 1)
    return places


def overwritten(data: bytes, chance: random.Random) -> tuple[bytes, list[tuple[int, int]], bool]:
    """Overwrite one to three places behind the magic with zeros, noise or other parts of the bag.

    Gives the bytes, the ranges touched, and whether parts were copied.
    """
    copied = False
    content = bytearray(data)
    touched = []
    for _ in range(chance.randint(1, 3)):
        length = min(chance.choice([1, 4, 40, 500, 3000]), len(content) - len(MAGIC))
        start = chance.randrange(len(MAGIC), len(content) - length + 1)
        other = chance.randrange(len(content) - length + 1)
        kind = chance.randrange(3)
        copied = copied or kind == 2
        noise = [bytes(length), chance.randbytes(length), bytes(content[other : other + length])]
        content[start : start + length] = noise[kind]
        touched.append((start, start + length))
    return bytes(content), touched, copied


def hit(start: int, end: int, touched: list[tuple[int, int]]) -> bool:
    return any(first < end and start < last for first, last in touched)


def check_overwritten(made: Made, path: Path, seed: int, *, chunk_index: bool = True) -> None:
    """Overwrite, read and judge.

    A message needs the bytes of its record, all of its chunk where that is compressed, and the last
    declaration of its connection. Without index records a part of the bag that was copied over
    another can be just as long as what it hides.
    """
    data, touched, copied = overwritten(made.data, random.Random(seed))
    path.write_bytes(data)
    found, said_whole = read(path)
    declared = not any(hit(at - 100, at + 400, touched) for at in declarations_of(made)[-2:])
    intact = [
        message
        for message, bounds in zip(made.messages, made.ranges, strict=True)
        if not hit(*bounds, touched)
    ]
    # A record copied over others is there twice, and nothing in the format forbids that.
    assert copied or max((found[message] for message in made.messages), default=0) <= 1
    if declared and (chunk_index or not copied):
        missing = Counter(intact) - found
        assert not missing, f"seed {seed}, touched {touched}: {len(missing)} missing"
    assert found.total() >= len(made.messages) or not said_whole


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_overwritten_bag_gives_what_was_left_alone(tmp_path: Path, compression: str) -> None:
    """Damage takes the messages it touches and no other, in whatever record it lies."""
    made = make(some(80), compression=compression, per_chunk=16)
    for seed in range(60):
        check_overwritten(made, tmp_path / "a.bag", seed)


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
@pytest.mark.parametrize("chunk_index", [True, False])
def test_overwritten_bag_a_lot(tmp_path: Path, compression: str, *, chunk_index: bool) -> None:
    """The same, three thousand times, with index records and without."""
    made = make(some(80), compression=compression, per_chunk=16, chunk_index=chunk_index)
    for seed in range(3000):
        check_overwritten(made, tmp_path / "a.bag", seed, chunk_index=chunk_index)


def sweep_jackal(tmp_path: Path, step: int) -> None:
    content = JACKAL.read_bytes()
    whole = Counter(judged(JACKAL))
    path = tmp_path / "a.bag"
    counts = []
    for cut in range(0, len(content), step):
        path.write_bytes(content[:cut])
        found, said_whole = read(path)
        assert found <= whole
        assert not said_whole
        counts.append(found.total())

    assert counts == sorted(counts)
    assert counts[-1] > 0.9 * whole.total()


@needs_jackal
def test_real_bag_cut_here_and_there(tmp_path: Path) -> None:
    """A real bag cut later gives more, never anything that is not in it."""
    sweep_jackal(tmp_path, 49_999)


@needs_jackal
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_real_bag_cut_everywhere(tmp_path: Path) -> None:
    """The same at every 997th byte."""
    sweep_jackal(tmp_path, 997)


def chunks_of(data: bytes) -> list[tuple[int, int, Counter[Message]]]:
    """Walk the records of a whole bag and give the bytes of each chunk and what is in it."""
    found, at = [], len(MAGIC)
    while at < len(data):
        head_bytes = int.from_bytes(data[at : at + 4], "little")
        data_bytes = int.from_bytes(data[at + 4 + head_bytes : at + 8 + head_bytes], "little")
        end = at + 8 + head_bytes + data_bytes
        if b"op=\x05" in data[at : at + 4 + head_bytes]:
            found.append((at, end))
        at = end
    whole = judged(JACKAL)
    # The walk that judges goes through the chunks in the same order.
    counts = [chunk_messages(data[start:end]) for start, end in found]
    edges = np.cumsum([0, *counts]).tolist()
    return [
        (start, end, Counter(whole[edges[index] : edges[index + 1]]))
        for index, (start, end) in enumerate(found)
    ]


def chunk_messages(record: bytes) -> int:
    """Count the messages of one chunk record."""
    ((fields, data),) = records_of(record)
    plain = bz2.decompress(data) if fields["compression"] == b"bz2" else data
    return sum(inner["op"] == b"\x02" for inner, _ in records_of(plain))


@needs_jackal
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seeds", [4, pytest.param(300, marks=pytest.mark.slow)])
def test_real_bag_overwritten(tmp_path: Path, seeds: int) -> None:
    """Of a real bag with a block overwritten the other chunks come whole, and nothing twice."""
    content = JACKAL.read_bytes()
    chunks = chunks_of(content)
    whole: Counter[Message] = sum((inside for _, _, inside in chunks), Counter())
    path = tmp_path / "a.bag"
    lost = 0
    for seed in range(seeds):
        chance = random.Random(seed)
        # The declarations at the end are what everything else hangs on.
        start = chance.randrange(chunks[0][0], chunks[-1][1] - 5000)
        noise = chance.randbytes(chance.choice([1, 16, 512, 5000]))
        path.write_bytes(content[:start] + noise + content[start + len(noise) :])
        found, said_whole = read(path)
        hits = [
            inside for first, end, inside in chunks if first < start + len(noise) and start < end
        ]
        intact = whole - sum(hits, Counter())
        assert not intact - found, f"seed {seed}: messages of other chunks are missing"
        # A chunk's compression may make copies of what it holds, and ROS 1 has no checksums.
        assert (found - whole).total() <= sum(hits, Counter()).total()
        assert found.total() >= whole.total() or not said_whole
        lost += (whole - found).total()
    assert lost > 0


@given(st.binary(max_size=400), st.integers(0, 3))
@settings(max_examples=100)
def test_bytes_that_are_no_records_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    """Noise between, before and behind records takes no message away and crashes nothing."""
    made = make(some(8), per_chunk=4)
    chunks = [made.data.find(b"compression=none") - 20, len(made.data), 4109, len(MAGIC)]
    at = chunks[place]
    path = tmp_path_factory.mktemp("noise") / "a.bag"
    path.write_bytes(made.data[:at] + noise + made.data[at:])

    found, _ = read(path)

    assert max(found.values(), default=0) <= 1
    if place in {1, 2} and b"op=" not in noise:
        assert not Counter(made.messages) - found


def test_bag_inside_a_message_is_not_taken_for_messages(tmp_path: Path) -> None:
    """An index that points into a payload which holds records is not believed."""
    inner = message(0, 7, b"inner")
    data = connection(0, "/a") + message(0, 5, inner) + message(0, 6, b"last")
    outer = len(connection(0, "/a"))
    after = outer + len(message(0, 5, inner))
    within = outer + len(message(0, 5, b""))

    honest = read_chunk(data, np.array([outer, after]), path=tmp_path)
    lying = read_chunk(data, np.array([outer, within, after]), path=tmp_path)

    assert honest.messages.times_ns.tolist() == [5, 6]
    assert not honest.gaps
    assert lying.gaps


def test_index_section_that_lacks_a_chunk_is_not_believed(tmp_path: Path) -> None:
    """Counts that do not cover the bag decide nothing; it is scanned, and all of it arrives."""
    made = make(some(40), per_chunk=10)
    path = tmp_path / "a.bag"
    last_info = made.data.rfind(b"op=\x06") - 8
    path.write_bytes(made.data[:last_info])

    with open_rosbag1(rosbag1_file(path), limits=LIMITS) as reader:
        assert sum(channel.message_count or 0 for channel in reader.channels) == 40
        assert Counter(messages_of(reader)) == Counter(made.messages)
        assert reader.healthy
        assert "an index section whose place or numbers are wrong" in reader.tally.contradictions


@pytest.mark.parametrize("compression", ["bz2", "lz4"])
def test_chunk_whose_checksum_is_wrong_is_told(tmp_path: Path, compression: str) -> None:
    """Where a compression carries a checksum behind the content, it is compared."""
    made = make(some(10), compression=compression)
    end = made.ranges[0][1]
    path = tmp_path / "a.bag"
    path.write_bytes(made.data[: end - 3] + b"\xa5\x5a" + made.data[end - 1 :])

    _, said_whole = read(path)

    assert not said_whole
