"""The small vectorised pieces, each against Python's own way of doing the same."""

import struct
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cdr import Decoder, join_blocks, merge_blocks
from bridge.cdr.fixed import values_array
from bridge.cdr.layout import PRIMITIVES
from bridge.cdr.source import Source
from bridge.cdr.steps import Repairs
from bridge.cdr.text import INVALID_UTF8, text_array
from bridge.definitions.names import NUMBERS
from bridge.model import ArrayType, MessageBlock, MessageType, PrimitiveType, SequenceType
from tests.cdr.blocks import block_of

Order = Literal["little", "big"]

ODD_BYTES = st.one_of(
    st.binary(max_size=6),
    st.text(max_size=3).map(str.encode),
    st.lists(
        st.sampled_from([0x00, 0x41, 0x80, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5]),
        max_size=5,
    ).map(bytes),
)


@settings(max_examples=200)
@given(rows=st.lists(ODD_BYTES, max_size=20))
def test_text_that_is_not_utf8_is_replaced_as_python_does(rows: list[bytes]) -> None:
    """Every row is what Python makes of it; exactly those that it cannot decode are noted."""
    block = block_of(rows, gap=b"\x80")
    repairs = Repairs(len(rows))
    lengths = block.ends - block.starts
    array = text_array(Source(block.data, swap=False), block.starts, lengths, repairs)
    array.validate(full=True)
    repaired = repairs.by_reason.get(INVALID_UTF8, np.zeros(len(rows), dtype=bool))

    assert array.to_pylist() == [row.decode(errors="replace") for row in rows]
    assert repaired.tolist() == [not is_utf8(row) for row in rows]


def test_every_pair_of_bytes_is_replaced_as_python_does() -> None:
    """Alone, and in front of what could go on with it."""
    pairs = [bytes([first, second]) for first in range(256) for second in range(256)]
    rows = pairs + [pair + b"\x80\xbf" for pair in pairs]
    block = block_of(rows)
    source = Source(block.data, swap=False)
    array = text_array(source, block.starts, block.ends - block.starts, Repairs(len(rows)))

    assert array.to_pylist() == [row.decode(errors="replace") for row in rows]


def is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_long_ranges_are_copied_like_short_ones() -> None:
    """Every way of copying gives the same bytes: equal or not, long or short, few or many."""
    random = np.random.default_rng(1)
    data = random.integers(0, 256, 40 << 20, dtype=np.uint8)
    source = Source(data, swap=False)
    for count, low, high in (
        (3, 6 << 20, 6 << 20),
        (5, 1 << 20, 4 << 20),
        (2000, 600, 1200),
        (2000, 13, 2000),
        (2000, 0, 3000),
        (2000, 700, 700),
        (2000, 0, 12),
        (2000, 5, 5),
    ):
        lengths = random.integers(low, high, count, endpoint=True)
        starts = random.integers(0, len(data) - high, count)
        expected = np.concatenate(
            [data[start : start + length] for start, length in zip(starts, lengths, strict=True)]
        )
        gathered = np.frombuffer(source.ragged(starts, lengths), dtype=np.uint8)

        assert np.array_equal(gathered, expected)


@given(
    rows=st.lists(st.binary(max_size=20), max_size=12),
    picks=st.lists(st.integers(0, 11), max_size=12),
)
def test_ragged_gather_copies_ranges_in_any_order(rows: list[bytes], picks: list[int]) -> None:
    """Ranges come out side by side, whatever their order, lengths and overlaps."""
    block = block_of(rows, gap=b"#")
    chosen = [pick for pick in picks if pick < len(rows)]
    starts = block.starts[chosen]
    gathered = Source(block.data, swap=False).ragged(starts, block.ends[chosen] - starts)

    assert bytes(gathered) == b"".join(rows[pick] for pick in chosen)


def quad(value: float, order: Order) -> bytes:
    """Write a double as IEEE 754 binary128, which holds it exactly."""
    bits = int.from_bytes(struct.pack(">d", value))
    sign, exponent, mantissa = bits >> 63, bits >> 52 & 0x7FF, bits & ((1 << 52) - 1)
    wide = 0x7FFF if exponent == 0x7FF else exponent - 1023 + 16383 if exponent else 0
    whole = sign << 127 | wide << 112 | mantissa << 60
    return whole.to_bytes(16, order)


@pytest.mark.parametrize("order", ["little", "big"])
@given(numbers=st.lists(st.floats(allow_subnormal=False), max_size=10))
def test_quadruple_precision_becomes_double(numbers: list[float], order: Order) -> None:
    """Every normal double written as binary128 comes back, signs, infinities and NaN included."""
    raw = b"".join(quad(number, order) for number in numbers)
    array = values_array(PRIMITIVES["float128"], raw, len(numbers), swap=order == "big")

    np.testing.assert_array_equal(array.to_numpy(), np.array(numbers, dtype=np.float64))
    assert np.signbit(array.to_numpy()).tolist() == [
        struct.pack("<d", number)[7] >= 0x80 for number in numbers
    ]


def test_quadruple_precision_beyond_double_is_infinite_or_zero() -> None:
    """What a double cannot hold becomes infinite or zero, never a wrong number."""
    huge = (0x7FFE << 112).to_bytes(16, "little")
    tiny = (0x0001 << 112).to_bytes(16, "little")
    array = values_array(PRIMITIVES["float128"], huge + tiny, 2, swap=False)

    assert array.to_pylist() == [float("inf"), 0.0]


def test_arrow_types_are_named_as_the_platform_expects() -> None:
    """Items of numbers and strings are called `item`, items of messages like their field."""
    point = MessageType(name="p/msg/P", fields=(("x", PrimitiveType(name="float64")),))
    kind = MessageType(
        name="p/msg/T",
        fields=(
            ("numbers", SequenceType(element=PrimitiveType(name="byte"))),
            ("bounded", SequenceType(element=PrimitiveType(name="string"), bound=3)),
            ("three", ArrayType(element=PrimitiveType(name="bool"), length=3)),
            ("names", ArrayType(element=PrimitiveType(name="string"), length=2)),
            ("points", SequenceType(element=point)),
            ("pair", ArrayType(element=point, length=2)),
            ("letter", PrimitiveType(name="wchar")),
        ),
    )
    inner = pa.struct([("x", pa.float64())])

    assert Decoder(kind).arrow_type == pa.struct(
        [
            ("numbers", pa.list_(pa.field("item", pa.uint8()))),
            ("bounded", pa.list_(pa.field("item", pa.string()))),
            ("three", pa.list_(pa.field("item", pa.bool_()), 3)),
            ("names", pa.list_(pa.field("item", pa.string()), 2)),
            ("points", pa.list_(pa.field("points", inner))),
            ("pair", pa.list_(pa.field("pair", inner), 2)),
            ("letter", pa.uint16()),
        ]
    )


def test_bytes_of_a_sequence_can_be_taken_as_binary() -> None:
    """A column of uint8 sequences has the offsets and bytes of a binary column: no copy needed."""
    kind = MessageType(
        name="p/msg/T", fields=(("data", SequenceType(element=PrimitiveType(name="uint8"))),)
    )
    payloads = [b"\x00\x01\x00\x00" + struct.pack("<I", size) + b"x" * size for size in (0, 3, 5)]
    column = Decoder(kind).decode(block_of(payloads)).messages.field("data")
    binary = pa.Array.from_buffers(
        pa.binary(), len(column), [None, column.buffers()[1], column.values.buffers()[1]]
    )

    assert binary.to_pylist() == [b"", b"xxx", b"xxxxx"]


@given(pieces=st.lists(st.lists(st.binary(max_size=9), max_size=5), min_size=1, max_size=5))
def test_merged_block_holds_all_payloads_in_order(pieces: list[list[bytes]]) -> None:
    """Merging changes where payloads lie, and nothing else."""
    merged = merge_blocks([block_of(piece, gap=b"!") for piece in pieces])
    expected = [payload for piece in pieces for payload in piece]
    found = [
        merged.data[start:end].tobytes()
        for start, end in zip(merged.starts, merged.ends, strict=True)
    ]

    assert found == expected
    assert len(merged.data) == sum(map(len, expected))
    assert len(merged.log_times_ns) == len(expected)
    assert not merged.data.flags.writeable


def test_long_payloads_are_merged_by_one_copy_from_all_blocks() -> None:
    """Long payloads of several blocks, some sharing a buffer, come out side by side."""
    random = np.random.default_rng(2)
    payloads = [random.bytes(int(size)) for size in random.integers(600, 2000, 50)]
    first, second = block_of(payloads[:20], gap=b"!" * 700), block_of(payloads[20:])
    halves = [
        MessageBlock(
            topic=0,
            log_times_ns=second.log_times_ns[rows],
            data=second.data,
            starts=second.starts[rows],
            ends=second.ends[rows],
        )
        for rows in (slice(0, 10), slice(10, 30))
    ]
    merged = merge_blocks([first, *halves])

    assert merged.data.tobytes() == b"".join(payloads)
    assert not merged.data.flags.writeable


def test_blocks_of_one_buffer_are_joined_where_they_lie() -> None:
    """Others are merged."""
    whole = block_of([b"first", b"second", b"third"])
    parts = [
        MessageBlock(
            topic=0,
            log_times_ns=whole.log_times_ns[rows],
            data=whole.data,
            starts=whole.starts[rows],
            ends=whole.ends[rows],
        )
        for rows in (slice(0, 1), slice(2, 3))
    ]
    joined, merged = join_blocks(parts), join_blocks([parts[1], block_of([b"fourth"])])

    assert joined.data is whole.data
    assert joined.data[joined.starts[1] : joined.ends[1]].tobytes() == b"third"
    assert joined.log_times_ns.tolist() == whole.log_times_ns[[0, 2]].tolist()
    assert merged.data.tobytes() == b"thirdfourth"


def test_blocks_of_two_topics_are_not_merged() -> None:
    """Mixing topics up is the caller's mistake and said so."""
    one = block_of([b"a"])
    other = MessageBlock(
        topic=1, log_times_ns=one.log_times_ns, data=one.data, starts=one.starts, ends=one.ends
    )

    for put_together in (merge_blocks, join_blocks):
        with pytest.raises(ValueError, match="exactly one topic"):
            put_together([one, other])


def test_every_number_of_the_interface_languages_has_a_layout() -> None:
    """The table of layouts covers exactly the numbers that definitions may use."""
    assert set(PRIMITIVES) == NUMBERS
