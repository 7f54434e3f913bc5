"""The fast decoder against the reference codec and rosbags, on generated types and values."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cdr import Decoder
from bridge.definitions import parse_definition
from bridge.model import Definition, MessageType, Serialization
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
@settings(max_examples=25, deadline=None)
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
