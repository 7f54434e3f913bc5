"""Message indexes of many channels: found at once are those that a walk finds."""

import struct
from random import Random

import numpy as np
import pytest

from bridge.bags.mcap.records import Opcode
from bridge.bags.mcap.slicing import index_offsets, joined_index_offsets

MANY = 40

Entries = list[tuple[int, int]]


def index(channel: int, entries: Entries) -> bytes:
    """Write a record: opcode, length, channel, bytes of the array, then times and offsets."""
    array = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    return struct.pack("<BQHI", Opcode.MESSAGE_INDEX, 6 + len(array), channel, len(array)) + array


def walked(data: bytes, start: int) -> tuple[list[int], int]:
    """Read one record after the other, as the format's specification has it."""
    offsets: list[int] = []
    while len(data) >= start + 15:
        opcode, length, _, array_bytes = struct.unpack_from("<BQHI", data, start)
        end = start + 9 + length
        if opcode != Opcode.MESSAGE_INDEX or end > len(data) or array_bytes != length - 6:
            break
        if array_bytes % 16:
            break
        offsets += [offset for _, offset in struct.iter_unpack("<QQ", data[start + 15 : end])]
        start = end
    return offsets, start


# With bytes that an opcode or a length might be.
NUMBERS = (0, 6, 7, 22, 38, 0x07 << 56, 7 << 8, 2**62)


@pytest.mark.parametrize("seed", range(200))
def test_index_of_many_channels_is_what_a_walk_finds(seed: int) -> None:
    """Whatever the entries look like, whatever follows, and wherever the bytes break off."""
    chosen = Random(seed)
    channels = [
        [(chosen.choice(NUMBERS), chosen.choice(NUMBERS)) for _ in range(chosen.randrange(4))]
        for _ in range(chosen.randrange(10, MANY))
    ]
    data = b"chunk" + b"".join(map(index, range(len(channels)), channels))
    data += chosen.choice((b"", b"\7", b"\0" * 40, index(1, [])[:-1], chosen.randbytes(30)))
    data = data[: len(data) - chosen.choice((0, chosen.randrange(60)))]
    offsets, end = index_offsets(memoryview(data), 5)

    expected, expected_end = walked(data, 5)
    assert end == expected_end
    assert (offsets if offsets is not None else np.empty(0)).tolist() == expected


@pytest.mark.parametrize("seed", range(100))
def test_indexes_behind_several_chunks_are_those_behind_each(seed: int) -> None:
    """With few or many channels, long or short records, empty ones, and other bytes between."""
    chosen = Random(seed)
    entries_max = chosen.choice((3, 300))
    data, areas, expected = b"", [], []
    for chunk in range(chosen.randrange(2, 6)):
        data += chosen.randbytes(20)
        start = len(data)
        for channel in range(chosen.choice((1, 10, MANY))):
            count = chosen.randrange(entries_max)
            data += index(channel, [(7, chosen.randrange(2**40)) for _ in range(count)])
        areas.append((start, len(data)))
        expected += [(offset, chunk) for offset in walked(data, start)[0]]
    found = joined_index_offsets(memoryview(data), np.array(areas))

    assert found is not None
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


@pytest.mark.parametrize("behind", [b"\7", b"\0" * 40, index(1, [])[:-1]])
def test_something_else_behind_the_last_index_is_no_area_of_indexes(behind: bytes) -> None:
    data = b"".join(index(channel, [(1, 2)]) for channel in range(MANY)) + behind
    assert joined_index_offsets(memoryview(data), np.array([(0, len(data))])) is None


@pytest.mark.parametrize("at", [0, MANY // 2, MANY - 1])
def test_entries_that_look_like_an_index_are_none(at: int) -> None:
    """A time and an offset whose bytes are a whole empty record, far behind the first ones."""
    empty = index(3, [])
    entry = struct.unpack("<QQ", empty + b"\0")
    channels: list[Entries] = [[(number, number)] for number in range(MANY)]
    channels[at] = [entry, (1, 2)]
    data = b"".join(map(index, range(MANY), channels))

    offsets, end = index_offsets(memoryview(data), 0)
    assert offsets is not None
    assert (offsets.tolist(), end) == walked(data, 0)
