"""What a ROS 1 bag says of itself decides nothing: the data count, the wrong claim is reported.

Every bag here holds the same messages, all of them intact, and is wrong about something.
"""

import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.bags import ReadLimits
from bridge.bags.rosbag1.reader import open_rosbag1
from tests.bags.rosbag1.rosbag1_files import (
    BAG_RECORD_BYTES,
    MAGIC,
    bag_record,
    chunk_info,
    connection,
    make,
    number,
    record,
    rosbag1_file,
)
from tests.bags.sqlite.sqlite_files import messages_of

MESSAGES = [(f"/t{n % 2}", 1_000_000_000 + n, b"payload %03d" % n) for n in range(40)]


def bag(compression: str = "none") -> bytes:
    return make(MESSAGES, compression=compression).data


def place(data: bytes) -> int:
    """Find where the index section starts."""
    at = data.index(b"index_pos=") + len("index_pos=")
    return int(struct.unpack_from("<Q", data, at)[0])


def counting(data: bytes, *, moved: int = 0, chunks: int = 0, connections: int = 0) -> bytes:
    """Make the first record say another place and other numbers."""
    rest = data[len(MAGIC) + BAG_RECORD_BYTES :]
    told = bag_record(place(data) + moved, 2 + connections, 4 + chunks)
    return data[: len(MAGIC)] + told + rest


def replaced(data: bytes, field: bytes, value: bytes, *, which: int = 1) -> bytes:
    """Put another value into one field of the headers, counted from the first."""
    at = -1
    for _ in range(which + 1):
        at = data.index(field + b"=", at + 1)
    at += len(field) + 1
    return data[:at] + value + data[at + len(value) :]


def with_hole(data: bytes, size: int, *, before: int) -> bytes:
    """Put zeros before a position, and let the first record know where the index is now."""
    told = counting(data, moved=size)
    return told[:before] + bytes(size) + told[before:]


def hole_in_index(data: bytes, size: int) -> bytes:
    """Put zeros between the connections and the chunks of the index section."""
    at = place(data) + len(connection(0, "/t0")) + len(connection(1, "/t1"))
    return data[:at] + bytes(size) + data[at:]


BARE = make(MESSAGES, chunk_index=False)


def lacking_connection(data: bytes) -> bytes:
    """Leave the second connection, and its counts, out of the index section."""
    start = place(data)
    second = connection(1, "/t1")
    index = data[start:].replace(second, b"", 1)
    infos = [
        chunk_info(4096, MESSAGES[first : first + 10], {0: [b""] * 5}) for first in range(0, 40, 10)
    ]
    return data[:start] + index[: len(connection(0, "/t0"))] + b"".join(infos)


BAGS: dict[str, tuple[Callable[[], bytes], str]] = {
    "number of chunks": (lambda: counting(bag(), chunks=3), "index section"),
    "number of connections": (lambda: counting(bag(), connections=5), ""),
    "place of the index": (lambda: counting(bag(), moved=-7), "index section"),
    "place of the index beyond the end": (lambda: counting(bag(), moved=1 << 40), "index section"),
    "count of an index record": (
        lambda: replaced(bag(), b"count", number(3)),
        "",
    ),
    "size of a plain chunk": (lambda: replaced(bag(), b"size", number(3)), "size is not"),
    "size of a bz2 chunk": (lambda: replaced(bag("bz2"), b"size", number(3)), "size is not"),
    "size of an lz4 chunk": (lambda: replaced(bag("lz4"), b"size", number(3)), "size is not"),
    "size beyond all limits": (
        lambda: replaced(bag("lz4"), b"size", number((1 << 32) - 1)),
        "size is not",
    ),
    "compression": (
        lambda: replaced(bag("bz2"), b"compression", b"lz4"),
        "compression is not",
    ),
    "hole before the index": (
        lambda: with_hole(bag(), 49, before=place(bag())),
        "holes of zeros",
    ),
    "hole within the index": (
        lambda: hole_in_index(bag(), 49),
        "",
    ),
    "hole behind a plain chunk without index records": (
        lambda: with_hole(BARE.data, 49, before=BARE.ranges[9][1]),
        "holes of zeros",
    ),
    "room behind the end": (lambda: bag() + bytes(5000), ""),
    "counts in the index": (
        lambda: (
            bag()[: place(bag())]
            + connection(0, "/t0")
            + connection(1, "/t1")
            + 4 * chunk_info(4096, MESSAGES[:10], {0: [b""] * 3, 1: [b""] * 9})
        ),
        "the index counts 12 messages on /t0, 20 were found",
    ),
    "a connection that the index lacks": (lambda: lacking_connection(bag()), ""),
}


@pytest.mark.parametrize("name", BAGS)
def test_everything_arrives_and_nothing_is_damage(name: str, tmp_path: Path) -> None:
    """All messages once; a bag that lacks a connection is opened again and looked through."""
    made, claim = BAGS[name]
    path = tmp_path / "a.bag"
    path.write_bytes(made())
    thorough = False
    for _ in range(2):
        with open_rosbag1(rosbag1_file(path), limits=ReadLimits(), thorough=thorough) as reader:
            found = Counter(messages_of(reader))
            tally, healthy, thorough = reader.tally, reader.healthy, reader.misled
        if not thorough:
            break

    assert found == Counter(MESSAGES)
    assert not tally.losses
    assert healthy
    assert claim in "; ".join(tally.contradictions)
    assert bool(claim) <= bool(tally.contradictions)


def test_hole_where_messages_were_is_damage(tmp_path: Path) -> None:
    """Zeros in place of a chunk: the index counts more messages than there are."""
    made = make(MESSAGES)
    start, end = made.ranges[10][0], made.ranges[19][1]
    path = tmp_path / "a.bag"
    path.write_bytes(made.data[: start - 300] + bytes(end - start + 300) + made.data[end:])
    with open_rosbag1(rosbag1_file(path), limits=ReadLimits()) as reader:
        found = Counter(messages_of(reader))

        assert 29 <= (found & Counter(MESSAGES)).total() < len(MESSAGES)
        assert reader.tally.losses
        assert not reader.healthy


def test_a_record_that_is_no_header_is_not_one(tmp_path: Path) -> None:
    """A bag of zeros behind its first record holds nothing, and says so."""
    path = tmp_path / "a.bag"
    path.write_bytes(bag()[: len(MAGIC) + BAG_RECORD_BYTES] + bytes(4000) + record({}, b""))
    with pytest.raises(Exception, match="no topic can be found"):
        open_rosbag1(rosbag1_file(path), limits=ReadLimits())
