"""Wide strings in every layout found in the field, and the encoders below them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cdr import Decoder
from bridge.cdr.steps import Repairs
from bridge.cdr.text import INVALID_UTF16, utf8_array
from bridge.definitions import parse_definition
from bridge.model import Definition, MessageType, PrimitiveType
from tests.cdr.blocks import block_of, same
from tests.cdr.strategies import LETTERS, message_types, values
from tests.reference.codec import Wire, encode

LAYOUTS = {
    "fastcdr_2": {"unit_bytes": 2, "counts_bytes": False, "char_bytes": 2},
    "fastcdr_1": {"unit_bytes": 4, "counts_bytes": False, "char_bytes": 4},
    "rmw_cyclonedds": {"unit_bytes": 4, "counts_bytes": False, "char_bytes": 2},
    "xtypes": {"unit_bytes": 2, "counts_bytes": True, "char_bytes": 2},
}
"""Said here again, apart from the code that is tested."""


CLUE = ("clue", PrimitiveType(name="wstring"))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["little", "big"])
@settings(max_examples=8)
@given(data=st.data())
def test_topic_of_wide_strings_is_read_in_the_layout_it_was_written(
    layout: dict[str, Any], version: int, order: str, data: st.DataObject
) -> None:
    """The layout is found from the payloads alone, whatever else is in the message."""
    wire = Wire(version=version, big=order == "big", **layout)
    kind = data.draw(message_types(wide=True))
    # Texts long enough that no other layout can be mistaken for the right one.
    kind = MessageType(name=kind.name, fields=(*kind.fields, CLUE))
    expected = data.draw(st.lists(values(kind), min_size=1, max_size=4))
    for number, value in enumerate(expected):
        value["clue"] = "a clear clue" + "!" * number
    decoded = Decoder(kind).decode(block_of([encode(kind, value, wire) for value in expected]))

    assert not decoded.dropped
    assert same(expected, decoded.messages.to_pylist())


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@given(text=st.text(LETTERS, max_size=30))
def test_single_wide_string_is_never_misread(layout: dict[str, Any], text: str) -> None:
    """One `std_msgs/WString` is enough to tell the layout."""
    kind = parse_definition("p/WString", Definition(encoding="ros2msg", text="wstring data\n"))
    payload = encode(kind, {"data": text}, Wire(**layout))
    decoded = Decoder(kind).decode(block_of([payload]))

    assert decoded.messages.to_pylist() == [{"data": text}]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@given(letters=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=5))
def test_wide_characters_are_code_units(layout: dict[str, Any], letters: list[int]) -> None:
    """A `wchar` is one UTF-16 code unit, in two bytes or four."""
    kind = MessageType(
        name="p/msg/T",
        fields=(("a", PrimitiveType(name="wchar")), CLUE),
    )
    expected = [{"a": letter, "clue": "ab"} for letter in letters]
    payloads = [encode(kind, value, Wire(**layout)) for value in expected]
    decoded = Decoder(kind).decode(block_of(payloads))

    assert decoded.messages.to_pylist() == expected


def test_counted_terminator_is_no_character() -> None:
    """RTI Connext writes four bytes a unit and a NUL that the length counts."""
    kind = parse_definition("p/WString", Definition(encoding="ros2msg", text="wstring data\n"))
    units = np.array([ord(letter) for letter in "ab\0"], dtype="<u4").tobytes()
    payload = b"\x00\x01\x00\x00" + b"\x03\x00\x00\x00" + units
    decoded = Decoder(kind).decode(block_of([payload]))

    assert decoded.messages.to_pylist() == [{"data": "ab"}]


@given(
    rows=st.lists(
        st.lists(st.sampled_from([65, 0x20AC, 0xD83D, 0xDE00, 0xD800, 0x1F600, 0x110000]))
    )
)
def test_units_that_are_no_text_are_replaced(rows: list[list[int]]) -> None:
    """Every row is what Python makes of its UTF-16 (or code points); repaired ones are noted."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    units = np.array([unit for row in rows for unit in row], dtype=np.int64)
    repairs = Repairs(len(rows))
    array = utf8_array(units, lengths, repairs)
    array.validate(full=True)
    expected = [as_text(row) for row in rows]
    repaired = repairs.by_reason.get(INVALID_UTF16, np.zeros(len(rows), dtype=bool))

    assert array.to_pylist() == expected
    assert repaired.tolist() == ["\ufffd" in text for text in expected]


def as_text(units: list[int]) -> str:
    """Decode one row with Python's codecs."""
    letters = [chr(unit) if unit <= 0x10FFFF else "\ufffd" for unit in units]
    raw = b"".join(letter.encode("utf-16-le", "surrogatepass") for letter in letters)
    return raw.decode("utf-16-le", "replace")


SLACK = [0, 1, 3, 4, 17, 64]


@pytest.mark.parametrize(
    ("layout", "filling"),
    [(layout, filling) for layout in LAYOUTS.values() for filling in (b"\0", b"\xff")]
    + [(LAYOUTS["fastcdr_1"], b"A")],  # what rclpy writes
)
@settings(max_examples=25)
@given(texts=st.lists(st.text(LETTERS, max_size=12), min_size=3, max_size=6), data=st.data())
def test_slack_behind_the_payload_does_not_hide_the_layout(
    layout: dict[str, Any], filling: bytes, texts: list[str], data: st.DataObject
) -> None:
    """The texts of a block show the width of their characters, wherever payloads end."""
    kind = parse_definition("p/T", Definition(encoding="ros2msg", text="wstring data\nuint8 x\n"))
    rows = [{"data": text, "x": 7} for text in [*texts, "a clear clue"]]
    slack = data.draw(st.sampled_from(SLACK))
    payloads = [encode(kind, row, Wire(**layout)) + filling * slack for row in rows]
    decoded = Decoder(kind).decode(block_of(payloads))

    assert decoded.messages.to_pylist() == rows
    assert not decoded.dropped
    assert decoded.leftover == 0
