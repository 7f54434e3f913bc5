"""Run inside an environment with rclpy: serialises messages by Fast CDR and prints what is in them.

One line of JSON for each message: its type, its values, its payload in hex.
"""

import importlib
import json
import random
import sys
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message  # type: ignore[import-not-found]
from rosidl_parser.definition import (  # type: ignore[import-not-found]
    AbstractNestedType,
    AbstractSequence,
    AbstractString,
    AbstractWString,
    Array,
    BasicType,
    NamespacedType,
)

SAMPLES = 12
WORDS = ["", "a", "frame", "Größe in °", "日本語", "x" * 40]
INTEGERS = {
    "octet": (0, 255), "char": (0, 255), "wchar": (1, 0xD7FF),
    "int8": (-(2**7), 2**7 - 1), "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1), "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1),
}  # fmt: skip

draw = random.Random(7)


def class_of(kind: Any) -> Any:
    module = importlib.import_module(".".join(kind.namespaces))
    return getattr(module, kind.name)


def basic(name: str) -> tuple[Any, Any]:
    """Draw a value: as rclpy takes it, and as it is to arrive."""
    value: Any
    if name == "boolean":
        value = draw.random() < 0.5
        return value, value
    if name in {"float", "double"}:
        value = draw.choice([0.0, -0.0, draw.randrange(-(2**20), 2**20) / 8])
        return value, value
    value = draw.choice([*INTEGERS[name], draw.randint(*INTEGERS[name])])
    if name == "octet":
        return bytes([value]), value
    return (chr(value) if name == "wchar" else value), value


def drawn(kind: Any) -> tuple[Any, Any]:
    if isinstance(kind, BasicType):
        return basic(kind.typename)
    if isinstance(kind, AbstractString | AbstractWString):
        most = kind.maximum_size if kind.has_maximum_size() else None
        value = draw.choice(WORDS)
        while most and len(value.encode()) > most:
            value = value[:-1]
        return value, value
    if isinstance(kind, NamespacedType):
        return message(class_of(kind))
    assert isinstance(kind, AbstractNestedType)
    if isinstance(kind, Array):
        length = kind.size
    else:
        assert isinstance(kind, AbstractSequence)
        length = draw.choice([0, 1, min(3, kind.maximum_size if kind.has_maximum_size() else 3)])
    pairs = [drawn(kind.value_type) for _ in range(length)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def message(cls: Any) -> tuple[Any, dict[str, Any]]:
    made, values = cls(), {}
    names = [name.removeprefix("_") for name in cls.__slots__ if name != "_check_fields"]
    for name, kind in zip(names, cls.SLOT_TYPES, strict=True):
        value, values[name] = drawn(kind)
        current = getattr(made, name)
        if hasattr(current, "typecode"):
            value = type(current)(current.typecode, value)
        elif hasattr(current, "dtype"):
            value = np.array(value, dtype=current.dtype)
        setattr(made, name, value)
    return made, values or {"structure_needs_at_least_one_member": 0}


def main() -> None:
    for package in sys.argv[1:]:
        module = importlib.import_module(f"{package}.msg")
        for name in sorted(vars(module)):
            cls = getattr(module, name)
            if not hasattr(cls, "SLOT_TYPES"):
                continue
            for _ in range(SAMPLES):
                made, values = message(cls)
                line = {"type": f"{package}/msg/{name}", "values": values}
                print(json.dumps(line | {"payload": serialize_message(made).hex()}))  # noqa: T201


main()
