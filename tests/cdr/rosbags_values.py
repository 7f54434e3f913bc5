"""Values as plain Python objects <-> rosbags' message objects."""

import keyword
from typing import Any

import numpy as np

from bridge.model import ArrayType, FieldType, MessageType, PrimitiveType, SequenceType

TIMES = {"builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration"}
SPAN = 1 << 32

NUMPY = {"byte": "int8", "char": "uint8", "bool": "bool"}


def attribute(name: str) -> str:
    """Name the attribute that rosbags makes of a field: keywords get an underscore."""
    return f"{name}_" if keyword.iskeyword(name) else name


def to_rosbags(kind: FieldType, value: Any, store: Any) -> Any:
    """Make what rosbags serialises."""
    if isinstance(kind, MessageType):
        if kind.name in TIMES:
            # rosbags gives both times of ROS 1 the signs of ROS 2.
            value = {"sec": wrapped(value["sec"], "int32"), "nanosec": value["nanosec"] % SPAN}
        members = {
            attribute(name): to_rosbags(member, value[name], store) for name, member in kind.fields
        }
        return store.types[kind.name](**members)
    if isinstance(kind, PrimitiveType):
        return value - 256 if kind.name == "byte" and value > 127 else value
    element = kind.element
    if isinstance(element, PrimitiveType) and element.name != "string":
        numbers = [to_rosbags(element, item, store) for item in value]
        return np.array(numbers, dtype=NUMPY.get(element.name, element.name))
    return [to_rosbags(element, item, store) for item in value]


def from_rosbags(kind: FieldType, value: Any) -> Any:
    """Make plain Python of what rosbags deserialised."""
    if isinstance(kind, MessageType):
        return {
            name: from_rosbags(member, getattr(value, attribute(name)))
            for name, member in kind.fields
        }
    if isinstance(kind, ArrayType | SequenceType):
        items = value.tolist() if isinstance(value, np.ndarray) else value
        return [from_rosbags(kind.element, item) for item in items]
    if kind.name == "byte":
        return value & 0xFF
    return wrapped(value, kind.name) if kind.name in {"int32", "uint32"} else value


def wrapped(value: int, name: str) -> int:
    """Give the number that the same 32 bits are with the sign of a type, or without."""
    value %= SPAN
    return value - SPAN if name == "int32" and value >= SPAN // 2 else value
