"""The decoder and the definition parser against rosbags: generated types, and every known type."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from bridge.cdr import Decoder
from bridge.definitions import canonical_text, parse_definition
from bridge.model import Definition, MessageType, Serialization
from tests.cdr.blocks import block_of, same
from tests.cdr.rosbags_values import from_rosbags, to_rosbags
from tests.cdr.strategies import message_types, values
from tests.reference.codec import EMPTY_MEMBER, Wire, encode

JAZZY = get_typestore(Stores.ROS2_JAZZY)
NOETIC = get_typestore(Stores.ROS1_NOETIC)


@settings(max_examples=25)
@given(data=st.data())
def test_three_decoders_agree_on_generated_types(data: st.DataObject) -> None:
    """Our decoder, rosbags' and the value that was written are the same, in both byte orders."""
    kind = data.draw(message_types(depth=2))
    expected = data.draw(st.lists(values(kind), min_size=1, max_size=4))
    store = get_typestore(Stores.EMPTY)
    text = canonical_text(kind)
    store.register(get_types_from_msg(text, kind.name))

    for little_endian in (True, False):
        payloads = [
            bytes(
                store.serialize_cdr(
                    to_rosbags(kind, value, store), kind.name, little_endian=little_endian
                )
            )
            for value in expected
        ]
        parsed = parse_definition(kind.name, Definition(encoding="ros2msg", text=text))
        decoded = Decoder(parsed).decode(block_of(payloads))
        theirs = [from_rosbags(kind, store.deserialize_cdr(raw, kind.name)) for raw in payloads]

        assert parsed == kind
        assert not decoded.dropped
        assert same(theirs, decoded.messages.to_pylist())
        assert same(theirs, expected)


@settings(max_examples=25)
@given(data=st.data())
def test_rosbags_writes_what_the_reference_writes(data: st.DataObject) -> None:
    """The reference codec is itself judged: rosbags writes the same bytes."""
    kind = data.draw(message_types(depth=2))
    value = data.draw(values(kind))
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(canonical_text(kind), kind.name))
    message = to_rosbags(kind, value, store)

    assert bytes(store.serialize_cdr(message, kind.name)) == encode(kind, value, Wire())
    assert bytes(store.serialize_ros1(message, kind.name)) == encode(kind, value, Wire(version=0))


@pytest.mark.parametrize("name", sorted(JAZZY.fielddefs))
def test_every_jazzy_type_decodes(name: str) -> None:
    """Every type of ROS 2 Jazzy: parsed as rosbags defines it, decoded as rosbags wrote it."""
    text, _ = JAZZY.generate_msgdef(name, ros_version=2)
    kind = parse_definition(name, Definition(encoding="ros2msg", text=text))
    check_type(name, kind, JAZZY, Serialization.CDR)

    assert canonical_text(kind) == text


@pytest.mark.parametrize("name", sorted(NOETIC.fielddefs))
def test_every_noetic_type_decodes(name: str) -> None:
    """Every type of ROS 1 Noetic, in the serialisation of ROS 1."""
    text, _ = NOETIC.generate_msgdef(name, ros_version=1)
    kind = parse_definition(name, Definition(encoding="ros1msg", text=text))
    check_type(name, kind, NOETIC, Serialization.ROS1)

    assert canonical_text(kind, ros1=True) == text


def check_type(name: str, kind: MessageType, store: Any, serialization: Serialization) -> None:
    """Write a few generated values with rosbags and read them with ours."""
    decoder = Decoder(kind, serialization=serialization)

    @settings(max_examples=3, database=None, suppress_health_check=list(HealthCheck))
    @given(expected=st.lists(values(kind), min_size=2, max_size=2))
    def check(expected: list[Any]) -> None:
        messages = [to_rosbags(kind, value, store) for value in expected]
        if serialization is Serialization.ROS1:
            payloads = [bytes(store.serialize_ros1(message, name)) for message in messages]
        else:
            payloads = [bytes(store.serialize_cdr(message, name)) for message in messages]
        decoded = decoder.decode(block_of(payloads))

        assert not decoded.dropped
        assert same(expected, decoded.messages.to_pylist())

    check()


def test_empty_messages_have_their_dummy_member() -> None:
    """An empty ROS 2 message is one byte on the wire and one column of it."""
    kind = parse_definition("std_msgs/msg/Empty", Definition(encoding="ros2msg", text=""))
    payload = bytes(JAZZY.serialize_cdr(JAZZY.types["std_msgs/msg/Empty"](), "std_msgs/msg/Empty"))
    decoded = Decoder(kind).decode(block_of([payload]))

    assert decoded.messages.to_pylist() == [{EMPTY_MEMBER: 0}]
