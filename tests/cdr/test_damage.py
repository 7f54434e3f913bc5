"""Payloads that do not fit: each is dropped alone, counted by reason, and nothing else changes."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cdr import Decoder, DefinitionError
from bridge.definitions import parse_definition
from bridge.model import Definition, MessageBlock, MessageType, Serialization
from tests.cdr.blocks import block_of, same
from tests.cdr.strategies import message_types, values
from tests.reference.codec import MalformedError, Wire, decode, encode

WIRES = {
    "cdr_le": Wire(),
    "cdr_be": Wire(big=True),
    "cdr2_le": Wire(version=2),
    "ros1": Wire(version=0),
}


pytestmark = pytest.mark.usefixtures("every_walk")


def message(text: str) -> MessageType:
    return parse_definition("pkg/msg/T", Definition(encoding="ros2msg", text=text))


def decoder_for(kind: MessageType, wire: Wire) -> Decoder:
    serialization = Serialization.CDR if wire.version else Serialization.ROS1
    return Decoder(kind, serialization=serialization)


def announced(payload: bytes, wire: Wire) -> Wire:
    """Give the serialisation that a payload says it has: damage may change what was written."""
    if wire.version == 0:
        return wire
    for version in (1, 2):
        for big in (False, True):
            if payload.startswith(Wire(version=version, big=big).header[:2]):
                return Wire(version=version, big=big)
    return wire


def judged(kind: MessageType, payloads: list[bytes], wire: Wire) -> tuple[list[int], list[Any]]:
    """Let the reference codec tell which payloads are sound, and what is in them."""
    found: dict[int, Any] = {}
    by_wire: dict[Wire, list[int]] = {}
    for index, payload in enumerate(payloads):
        by_wire.setdefault(announced(payload, wire), []).append(index)
        with suppress(MalformedError):
            found[index] = decode(kind, payload, announced(payload, wire))
    for said, group in by_wire.items():
        if said.version == 1 and not any(index in found for index in group):
            found |= aligned_to_four(kind, {index: payloads[index] for index in group}, said)
    return [100 + index for index in sorted(found)], [found[index] for index in sorted(found)]


def aligned_to_four(kind: MessageType, payloads: dict[int, bytes], said: Wire) -> dict[int, Any]:
    """Decode payloads that fit exactly with less padding than they announce, all or none."""
    found = {}
    four = replace(said, alignment=4)
    for index, payload in payloads.items():
        try:
            found[index] = decode(kind, payload, four)
        except MalformedError:
            return {}
        if payload != encode(kind, found[index], four):
            return {}
    return found


def check_against_reference(
    kind: MessageType, block: MessageBlock, payloads: list[bytes], wire: Wire
) -> None:
    """Compare what survives, and the number of what does not, with the reference codec."""
    times, expected = judged(kind, payloads, wire)
    decoded = decoder_for(kind, wire).decode(block)
    decoded.messages.validate(full=True)

    assert decoded.log_times_ns.tolist() == times
    assert same(expected, decoded.messages.to_pylist())
    assert sum(decoded.dropped.values()) == len(payloads) - len(times)


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
@settings(max_examples=25)
@given(data=st.data())
def test_truncation_at_every_byte_drops_only_the_truncated(wire: Wire, data: st.DataObject) -> None:
    """A payload cut anywhere is dropped unless what is left still holds all fields."""
    kind = data.draw(message_types())
    whole = encode(kind, data.draw(values(kind)), wire)
    cuts = [whole[:length] for length in range(len(whole))][-200:]
    payloads = [whole, *cuts, whole]

    check_against_reference(kind, block_of(payloads), payloads, wire)
    check_against_reference(kind, block_of(payloads, gap=b"\xff" * 9), payloads, wire)


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
@settings(max_examples=25)
@given(data=st.data())
def test_random_damage_is_judged_as_the_reference_does(wire: Wire, data: st.DataObject) -> None:
    """Payloads with overwritten bytes decode exactly if and as the reference codec decodes them."""
    kind = data.draw(message_types())
    payloads = []
    for value in data.draw(st.lists(values(kind), min_size=1, max_size=4)):
        damaged = bytearray(encode(kind, value, wire))
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, max(len(damaged) - 1, 0)))
            damaged[at : at + 1] = data.draw(st.binary(min_size=1, max_size=2))
        payloads.append(bytes(damaged))

    check_against_reference(kind, block_of(payloads, gap=b"\x7f"), payloads, wire)


@settings(max_examples=25)
@given(data=st.data())
def test_garbage_never_raises(data: st.DataObject) -> None:
    """Random bytes behind a good encapsulation are decoded or dropped as the reference says."""
    kind = data.draw(message_types())
    payloads = [
        Wire().header + data.draw(st.binary(max_size=100))
        for _ in range(data.draw(st.integers(1, 5)))
    ]

    check_against_reference(kind, block_of(payloads), payloads, Wire())


REASONS = [
    ("uint8[<=2] s", b"\x00\x01\x00\x00\x03\x00\x00\x00abc", "bound_exceeded"),
    ("uint8[] s", b"\x00\x01\x00\x00\xff\xff\xff\xffabc", "truncated"),
    ("string[] s", b"\x00\x01\x00\x00\xff\xff\xff\xffabc", "truncated"),
    ("float64[] s", b"\x00\x01\x00\x00\x02\x00\x00\x00" + bytes(19), "truncated"),
    ("uint32 x", b"\x00\x01\x00\x00\x01\x00", "truncated"),
    ("uint8 x", b"\x00\x01", "truncated"),
    ("uint8 x", b"", "truncated"),
    ("uint8 x", b"\x00\x03\x00\x00\x01", "mutable_encapsulation"),
    ("uint8 x", b"\x00\x0a\x00\x00\x01", "mutable_encapsulation"),
    ("uint8 x", b"\x00\x0b\x00\x00\x01", "mutable_encapsulation"),
    ("uint8 x", b"\x00\x09\x00\x00\x05\x00\x00\x00\x01", "truncated"),
    ("uint8 x", b"\x00\x05\x00\x00\x01", "unsupported_encapsulation"),
    ("uint8 x", b"\x01\x01\x00\x00\x01", "unsupported_encapsulation"),
]


@pytest.mark.parametrize(("text", "payload", "reason"), REASONS)
def test_dropped_message_is_counted_by_reason(text: str, payload: bytes, reason: str) -> None:
    """Each kind of damage has its own reason, and takes no other message with it."""
    kind = message(text)
    sound = encode(kind, {kind.fields[0][0]: EMPTIES[text.split(maxsplit=1)[0]]}, Wire())
    decoded = Decoder(kind).decode(block_of([sound, payload, sound]))

    assert decoded.dropped == Counter({reason: 1})
    assert decoded.log_times_ns.tolist() == [100, 102]
    assert len(decoded.messages) == 2


EMPTIES: dict[str, Any] = {
    "string": "",
    "string<=2": "",
    "uint8[<=2]": [],
    "uint8[]": [],
    "string[]": [],
    "float64[]": [],
    "uint32": 0,
    "uint8": 0,
    "wstring": "",
}


def test_reasons_are_told_apart_inside_nested_sequences() -> None:
    """Damage deep inside a sequence of messages is blamed on the message, by its own reason."""
    kind = message("P[] ps\n" + "=" * 80 + "\nMSG: pkg/P\nstring<=1[<=2] names\nuint8 last\n")
    sound = {"ps": [{"names": ["a", "bc"], "last": 1}, {"names": [], "last": 2}]}
    payloads = [encode(kind, sound, Wire()) for _ in range(4)]
    payloads[1] = payloads[1].replace(b"bc\0", b"\xff\xfe\0")
    too_many = {"ps": [{"names": ["a", "b", "c"], "last": 1}]}
    payloads[2] = encode(kind, too_many, Wire())
    decoded = Decoder(kind).decode(block_of(payloads))
    repaired = {"ps": [{"names": ["a", "\ufffd\ufffd"], "last": 1}, {"names": [], "last": 2}]}

    assert decoded.dropped == Counter({"bound_exceeded": 1})
    assert decoded.repaired == {"invalid_utf8": 1}
    assert decoded.messages.to_pylist() == [sound, repaired, sound]


@pytest.mark.parametrize("text", ["string<=2 s", "wstring<=2 s"])
def test_bounds_of_strings_are_not_checked(text: str) -> None:
    """No middleware enforces them, and what was recorded is worth more than a declaration."""
    kind = message(text)
    decoded = Decoder(kind).decode(block_of([encode(kind, {"s": "longer"}, Wire())]))

    assert decoded.messages.field("s").to_pylist() == ["longer"]


def test_strings_without_terminator_or_length_are_tolerated() -> None:
    """A length of 0 is an empty string, and a missing NUL costs no character."""
    header = b"\x00\x01\x00\x00"
    payloads = [
        header + bytes(4),
        header + b"\x03\x00\x00\x00abc",
        header + b"\x03\x00\x00\x00ab\x00",
    ]
    decoded = Decoder(message("string s")).decode(block_of(payloads))

    assert decoded.messages.field("s").to_pylist() == ["", "abc", "ab"]


def test_bytes_behind_the_last_field_do_not_cost_the_message() -> None:
    """Slack as rclpy leaves it costs nothing; what is more is kept and counted."""
    payload = encode(message("uint16 x"), {"x": 7}, Wire())
    decoded = Decoder(message("uint16 x")).decode(
        block_of([payload + bytes(extra) for extra in (0, 1, 3, 4, 64, 70, 400)])
    )

    assert decoded.messages.field("x").to_pylist() == [7] * 7
    assert not decoded.dropped
    assert decoded.leftover == 2


@settings(max_examples=25)
@given(data=st.data())
def test_mixed_encapsulations_keep_the_order_of_the_block(data: st.DataObject) -> None:
    """Byte orders and versions may change from message to message; rows stay where they were."""
    kind = data.draw(message_types())
    wires = [Wire(), Wire(big=True), Wire(version=2), Wire(version=2, big=True)]
    expected, payloads = [], []
    for _ in range(data.draw(st.integers(1, 8))):
        value = data.draw(values(kind))
        expected.append(value)
        payloads.append(encode(kind, value, data.draw(st.sampled_from(wires))))
    decoded = Decoder(kind).decode(block_of(payloads))

    assert same(expected, decoded.messages.to_pylist())
    assert decoded.log_times_ns.tolist() == list(range(100, 100 + len(payloads)))


@settings(max_examples=25)
@given(data=st.data())
def test_payloads_may_lie_anywhere_in_any_order(data: st.DataObject) -> None:
    """Rows follow `starts`, not the order of bytes; payloads may overlap or be the same bytes."""
    kind = data.draw(message_types())
    expected = data.draw(st.lists(values(kind), min_size=1, max_size=5))
    block = block_of([encode(kind, value, Wire()) for value in expected], gap=b"\xfe" * 3)
    rows = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=8))
    picked = MessageBlock(
        topic=0,
        log_times_ns=block.log_times_ns[rows],
        data=block.data,
        starts=block.starts[rows],
        ends=block.ends[rows],
    )
    decoded = Decoder(kind).decode(picked)

    assert same([expected[row] for row in rows], decoded.messages.to_pylist())


def test_huge_counts_allocate_nothing() -> None:
    """A count beyond the payload is found before memory is asked for, at any level."""
    kind = message("P[] ps\n" + "=" * 80 + "\nMSG: pkg/P\nuint8[] a\nfloat64[] b\nstring[] c\n")
    header = b"\x00\x01\x00\x00"
    count = b"\xff\xff\xff\x7f"
    payloads = [header + bytes(4 * zeros) + count + bytes(16) for zeros in range(5)]
    payloads += [header + b"\x01\x00\x00\x00" + bytes(4 * zeros) + count for zeros in range(4)]
    decoded = Decoder(kind).decode(block_of(payloads))

    assert sum(decoded.dropped.values()) + len(decoded.messages) == len(payloads)
    assert decoded.messages.nbytes < 10_000


def test_values_without_bytes_have_an_end() -> None:
    """ROS 1 sends nothing for empty messages, so no payload could limit an array of millions."""
    text = "P[1000000] ps\n" + "=" * 80 + "\nMSG: pkg/P\n"
    kind = parse_definition("pkg/T", Definition(encoding="ros1msg", text=text))

    with pytest.raises(DefinitionError, match="take no bytes"):
        Decoder(kind, serialization=Serialization.ROS1)
    assert Decoder(kind, serialization=Serialization.CDR).arrow_type.num_fields == 1


def test_empty_block_gives_empty_columns() -> None:
    """A block of no messages decodes to no rows of the right type."""
    decoder = Decoder(message("string[] s\nfloat64[3] x"))
    for rows in (np.zeros(0, dtype=np.int64),):
        decoded = decoder.decode(
            MessageBlock(
                topic=0, log_times_ns=rows, data=np.zeros(0, dtype=np.uint8), starts=rows, ends=rows
            )
        )

        assert len(decoded.messages) == 0
        assert decoded.messages.type == decoder.arrow_type
