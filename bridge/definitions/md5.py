"""The md5 of ROS 1 message types, as genmsg computes it: two types are one where it is equal."""

import hashlib
from collections.abc import Mapping

from bridge.definitions.syntax import (
    Declared,
    ParsedMessage,
    RawArray,
    RawSequence,
    RawType,
    Reference,
)

EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
"""That of a message without fields and constants."""

_PRIMITIVES = {
    "builtin_interfaces/msg/Time": "time",
    "builtin_interfaces/msg/Duration": "duration",
}


def md5_of(name: str, types: Mapping[str, Declared]) -> str:
    """Compute the md5 of a type, as hex.

    Args:
        name: The type.
        types: It and all that it uses, by full name.

    Raises:
        KeyError: A type is missing.
    """
    declared = types[name]
    assert isinstance(declared, ParsedMessage), "ROS 1 has nothing but messages"
    lines = [
        f"{constant.type_name} {constant.name}={written}"
        for constant, written in zip(declared.constants, declared.written, strict=True)
    ]
    lines += [f"{_type_text(kind, types)} {field}" for field, kind in declared.fields]
    # The hash is part of the format, not a matter of security.
    return hashlib.md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


def _type_text(kind: RawType, types: Mapping[str, Declared]) -> str:
    """Write a field's type: messages by their own md5, whether one or many."""
    element, suffix = kind, ""
    if isinstance(kind, RawArray):
        element, suffix = kind.element, f"[{kind.length}]"
    elif isinstance(kind, RawSequence):
        element, suffix = kind.element, "[]"
    if not isinstance(element, Reference):
        return f"{getattr(element, 'name', '')}{suffix}"
    name = next(each for each in element.candidates if each in types or each in _PRIMITIVES)
    if name in _PRIMITIVES:
        return f"{_PRIMITIVES[name]}{suffix}"
    return md5_of(name, types)
