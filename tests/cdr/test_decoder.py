"""The fast decoder against the reference codec and rosbags, on generated types and values."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cdr import Decoder
from bridge.definitions import parse_definition
from bridge.model import (
    ArrayType,
    Definition,
    FieldType,
    MessageType,
    PrimitiveType,
    SequenceType,
    Serialization,
)
from tests.cdr.blocks import block_of, same
from tests.cdr.strategies import message_types, values
from tests.reference.codec import Wire, decode, encode

WIRES = {
    "cdr_le": Wire(),
    "cdr_be": Wire(big=True),
    "cdr2_le": Wire(version=2),
    "cdr2_be": Wire(version=2, big=True),
    "ros1": Wire(version=0),
}


pytestmark = pytest.mark.usefixtures("every_walk")


def decoder_for(kind: MessageType, wire: Wire) -> Decoder:
    serialization = Serialization.CDR if wire.version else Serialization.ROS1
    return Decoder(kind, serialization=serialization)


def samples(data: st.DataObject, kind: MessageType, most: int = 6) -> list[Any]:
    """Draw a few values of a type, with repetitions, as real topics have them."""
    drawn = data.draw(st.lists(values(kind), min_size=1, max_size=most))
    return drawn * data.draw(st.sampled_from([1, 2, 12]))


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
@settings(max_examples=25)
@given(data=st.data())
def test_decoder_equals_reference_codec(wire: Wire, data: st.DataObject) -> None:
    """Every value of every generated type comes back equal, in every serialisation."""
    kind = data.draw(message_types())
    expected = samples(data, kind)
    payloads = [encode(kind, value, wire) for value in expected]
    assert all(
        same(decode(kind, raw, wire), value) for raw, value in zip(payloads, expected, strict=True)
    )

    decoded = decoder_for(kind, wire).decode(block_of(payloads, gap=b"\xff\xee\xdd"))
    decoded.messages.validate(full=True)

    assert not decoded.dropped
    assert same(expected, decoded.messages.to_pylist())
    assert decoded.messages.type == decoder_for(kind, wire).arrow_type


def test_blocks_of_many_rows_are_decoded_slab_by_slab_without_a_seam() -> None:
    """More rows than fit the cache at once come out in order and complete."""
    kind = parse_definition(
        "p/T",
        Definition(encoding="ros2msg", text="uint32 number\nfloat64[100] values\nuint8 last\n"),
    )
    rows = 2000
    payload = encode(kind, {"number": 0, "values": [0.5] * 100, "last": 9}, Wire())
    payloads = [payload[:4] + row.to_bytes(4, "little") + payload[8:] for row in range(rows)]
    messages = Decoder(kind).decode(block_of(payloads)).messages

    assert messages.field("number").to_pylist() == list(range(rows))
    assert set(messages.field("last").to_pylist()) == {9}
    assert set(messages.field("values").flatten().to_pylist()) == {0.5}


@pytest.mark.parametrize(
    ("serialization", "header", "expected"),
    [(Serialization.CDR, b"\0\1\0\0", 200), (Serialization.ROS1, b"", -56)],
)
def test_a_byte_has_a_sign_in_ros_1_only(
    serialization: Serialization, header: bytes, expected: int
) -> None:
    """Its `byte` is an int8, whatever its name says (wiki.ros.org/msg, section 2.1.1)."""
    kind = parse_definition("pkg/T", Definition(encoding="ros1msg", text="byte x\nbyte[] y\n"))
    payload = header + b"\xc8" + b"\0" * (3 if header else 0) + b"\1\0\0\0\xc8"
    decoded = Decoder(kind, serialization=serialization).decode(block_of([payload]))

    assert decoded.messages.to_pylist() == [{"x": expected, "y": [expected]}]


EXTENSIBILITIES = ("", "final", "appendable")


def extensible(kind: FieldType, draw: st.DrawFn) -> FieldType:
    """Let some of the messages of a type say how they may grow."""
    if isinstance(kind, MessageType):
        members = tuple((name, extensible(member, draw)) for name, member in kind.fields)
        said = draw(st.sampled_from(EXTENSIBILITIES))
        return MessageType(name=kind.name, fields=members, extensibility=said)
    if isinstance(kind, ArrayType):
        return ArrayType(element=extensible(kind.element, draw), length=kind.length)
    if isinstance(kind, SequenceType):
        return SequenceType(element=extensible(kind.element, draw), bound=kind.bound)
    return kind


@st.composite
def extensible_types(draw: st.DrawFn) -> MessageType:
    kind = extensible(draw(message_types()), draw)
    assert isinstance(kind, MessageType)
    return kind


CLUE = MessageType(name="p/msg/Clue", fields=(("text", PrimitiveType(name="string")),))


APPENDABLE_WIRES = {
    "delimited": Wire(version=2, delimited=True, appendable=True),
    "delimited_of_final": Wire(version=2, delimited=True),
    "delimited_be": Wire(version=2, delimited=True, appendable=True, big=True),
    "plain_of_appendable": Wire(version=2, appendable=True),
    "plain": Wire(version=2, big=True),
}


def test_a_short_message_is_read_by_the_rules_that_make_its_texts_texts() -> None:
    """A size in front of a part that is all zeros could be its first number."""
    part = parse_definition(
        "p/T",
        Definition(
            encoding="ros2msg",
            text="bool a\nQ part\nstring b\nstring[] c\nClue clue\n"
            + "=" * 80
            + "\nMSG: p/Q\nfloat32 x\nbool y\nstring z\nfloat32 w\n"
            + "=" * 80
            + "\nMSG: p/Clue\nstring text\n",
        ),
    )
    kind = MessageType(name=part.name, fields=part.fields, extensibility="final")
    row = {
        "a": False, "part": {"x": 0.0, "y": False, "z": "", "w": 0.0}, "b": "", "c": [],
        "clue": {"text": "a clear clue"},
    }  # fmt: skip
    payload = encode(kind, row, Wire(version=2, appendable=True))

    assert Decoder(kind).decode(block_of([payload])).messages.to_pylist() == [row]


@pytest.mark.parametrize("wire", APPENDABLE_WIRES.values(), ids=APPENDABLE_WIRES)
@settings(max_examples=40)
@given(data=st.data())
def test_appendable_types_decode(wire: Wire, data: st.DataObject) -> None:
    """Sizes in front of messages are passed over, whether a definition says so or the block."""
    kind = data.draw(extensible_types())
    kind = MessageType(
        name=kind.name,
        fields=(*kind.fields, ("clue", CLUE)),
        # Where the root says nothing and has no size in front, nothing silent below it has one.
        extensibility=kind.extensibility
        or ("" if wire.delimited or not wire.appendable else "final"),
    )
    rows = samples(data, kind)
    for row in rows:
        row["clue"] = {"text": "a clear clue"}
    decoded = Decoder(kind).decode(block_of([encode(kind, row, wire) for row in rows]))

    assert not decoded.dropped
    assert same(rows, decoded.messages.to_pylist())


def test_members_that_a_newer_writer_put_behind_are_passed_over() -> None:
    """An appendable message is as long as it says, wherever it lies."""
    newer = "struct P { long a; string b; double c; };"
    older = "struct P { long a; };"
    text = "module m { @appendable %s @appendable struct T { P p; sequence<P> many; long z; }; };"
    kinds = [
        parse_definition("m/T", Definition(encoding="omgidl", text=text % inner))
        for inner in (newer, older)
    ]
    point = {"a": 1, "b": "behind", "c": 2.5}
    row = {"p": point, "many": [point, {"a": 3, "b": "", "c": 0.0}], "z": 9}
    payloads = [encode(kinds[0], row, Wire(version=2, delimited=True))] * 70
    decoded = Decoder(kinds[1]).decode(block_of(payloads))

    assert not decoded.dropped
    assert (
        decoded.messages.to_pylist() == [{"p": {"a": 1}, "many": [{"a": 1}, {"a": 3}], "z": 9}] * 70
    )


def test_a_writer_that_aligns_to_four_is_read_where_nothing_else_fits() -> None:
    """All or none: one message that fits the standard makes the others truncated."""
    text = "uint32 a\nfloat64 b\nstring c\n"
    kind = parse_definition("pkg/T", Definition(encoding="ros2msg", text=text))
    row = {"a": 1, "b": 2.5, "c": "x"}
    packed, proper = (encode(kind, row, Wire(alignment=most)) for most in (4, 8))

    alone = Decoder(kind).decode(block_of([packed, packed]))
    mixed = Decoder(kind).decode(block_of([packed, proper]))

    assert alone.messages.to_pylist() == [row, row]
    assert (alone.dropped, alone.repaired) == ({}, {"aligned_to_four": 2})
    assert mixed.messages.to_pylist() == [row]
    assert (mixed.dropped, mixed.repaired) == ({"truncated": 1}, {})
