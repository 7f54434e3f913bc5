"""A slow, obvious codec for CDR, XCDR2 and ROS 1, one value at a time, written from the standards.

It is the judge of the fast decoder and shares nothing with it but the tree of types. Sources: OMG
DDS-XTypes 1.3, 7.4.3 (serialisation, both versions) and 7.6.3.1.2 (encapsulation); the ROS 1
serialisation; Fast-CDR and Cyclone DDS for wide strings, where the standard is not followed.
"""

import struct
from dataclasses import dataclass
from typing import Any

from bridge.model import ArrayType, FieldType, MessageType, PrimitiveType, SequenceType

CODES = {
    "bool": "B",
    "byte": "B",
    "char": "B",
    "octet": "B",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}

EMPTY_MEMBER = "structure_needs_at_least_one_member"

WEIGHTLESS_MAX = 64
"""The most elements of a sequence of empty ROS 1 messages, which no payload size limits."""


@dataclass(frozen=True)
class Wire:
    """One serialisation.

    Attributes:
        version: 1 or 2 for CDR, 0 for ROS 1.
        big: Whether numbers are big endian.
        unit_bytes: Bytes of a code unit of a wstring.
        counts_bytes: Whether a wstring's length counts bytes.
        char_bytes: Bytes of a wchar.
        alignment: Most that values are aligned to, where it is not what the version says; 0.
        delimited: Whether the message starts with its size (XCDR2, appendable types).
        appendable: Whether messages that do not say are appendable, too.
    """

    version: int = 1
    big: bool = False
    unit_bytes: int = 2
    counts_bytes: bool = False
    char_bytes: int = 2
    alignment: int = 0
    delimited: bool = False
    appendable: bool = False

    @property
    def header(self) -> bytes:
        if self.version == 0:
            return b""
        identifier = {1: 0x00, 2: 0x08 if self.delimited else 0x06}[self.version]
        identifier += 0 if self.big else 1
        return bytes([0, identifier, 0, 0])

    @property
    def alignment_max(self) -> int:
        return self.alignment or {0: 1, 1: 8, 2: 4}[self.version]

    def is_delimited(self, kind: MessageType) -> bool:
        """Tell whether a message inside another starts with its size."""
        says = kind.extensibility or ("appendable" if self.appendable else "final")
        return self.version == 2 and says == "appendable"

    def letter(self, name: str) -> str:
        """Give the code of a number; the byte of ROS 1 has a sign."""
        return "b" if name == "byte" and self.version == 0 else CODES[name]

    def code(self, letter: str) -> str:
        return (">" if self.big else "<") + letter


class MalformedError(Exception):
    """The payload does not fit the type; the argument says how."""


def is_empty(kind: MessageType) -> bool:
    return [name for name, _ in kind.fields] == [EMPTY_MEMBER]


def is_number(kind: FieldType) -> bool:
    """Tell numbers, and arrays of several dimensions of them."""
    if isinstance(kind, ArrayType):
        return is_number(kind.element)
    return (
        isinstance(kind, PrimitiveType)
        and kind.name not in {"string", "wstring"}
        and not kind.enumerators
    )


@dataclass
class Writer:
    wire: Wire
    body: bytearray

    def align(self, size: int) -> None:
        while len(self.body) % min(size, self.wire.alignment_max):
            self.body.append(0)

    def number(self, letter: str, value: Any, size: int) -> None:
        self.align(size)
        self.body += struct.pack(self.wire.code(letter), value)

    def value(self, kind: FieldType, value: Any) -> None:
        if isinstance(kind, MessageType):
            self.message(kind, value, delimited=self.wire.is_delimited(kind))
        elif isinstance(kind, PrimitiveType):
            self.primitive(kind, value)
        else:
            self.collection(kind, value)

    def message(self, kind: MessageType, value: Any, *, delimited: bool) -> None:
        if is_empty(kind) and self.wire.version == 0:
            return
        if delimited:
            self.number("I", 0, 4)
        start = len(self.body)
        for name, member in kind.fields:
            self.value(member, value[name])
        if delimited:
            self.body[start - 4 : start] = struct.pack(self.wire.code("I"), len(self.body) - start)

    def primitive(self, kind: PrimitiveType, value: Any) -> None:
        if kind.name == "string":
            text = value.encode() + (b"" if self.wire.version == 0 else b"\0")
            self.number("I", len(text), 4)
            self.body += text
        elif kind.name == "wstring":
            units = struct.unpack(
                f"<{len(value.encode('utf-16-le')) // 2}H", value.encode("utf-16-le")
            )
            self.number(
                "I", len(units) * (self.wire.unit_bytes if self.wire.counts_bytes else 1), 4
            )
            for unit in units:
                self.body += struct.pack(
                    self.wire.code({2: "H", 4: "I"}[self.wire.unit_bytes]), unit
                )
        elif kind.name == "wchar":
            size = self.wire.char_bytes
            self.number({2: "H", 4: "I"}[size], value, size)
        else:
            letter = self.wire.letter(kind.name)
            self.number(letter, value, struct.calcsize(letter))

    def collection(self, kind: ArrayType | SequenceType, values: Any) -> None:
        delimited = self.wire.version == 2 and not is_number(kind.element)
        if delimited:
            self.number("I", 0, 4)
        start = len(self.body)
        if isinstance(kind, SequenceType):
            self.number("I", len(values), 4)
        for value in values:
            self.value(kind.element, value)
        if delimited:
            self.body[start - 4 : start] = struct.pack(self.wire.code("I"), len(self.body) - start)


@dataclass
class Reader:
    wire: Wire
    body: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.body):
            raise MalformedError("truncated")
        self.at += size
        return self.body[self.at - size : self.at]

    def number(self, letter: str, size: int) -> Any:
        alignment = min(size, self.wire.alignment_max)
        while self.at % alignment:
            self.at += 1
        return struct.unpack(self.wire.code(letter), self.take(size))[0]

    def value(self, kind: FieldType) -> Any:
        if isinstance(kind, MessageType):
            if is_empty(kind) and self.wire.version == 0:
                return {EMPTY_MEMBER: 0}
            return self.message(kind, delimited=self.wire.is_delimited(kind))
        if isinstance(kind, PrimitiveType):
            return self.primitive(kind)
        return self.collection(kind)

    def message(self, kind: MessageType, *, delimited: bool) -> dict[str, Any]:
        if not delimited:
            return {name: self.value(member) for name, member in kind.fields}
        size = self.number("I", 4)
        outer, start = self.body, self.at
        if start + size > len(outer):
            raise MalformedError("truncated")
        self.body = outer[: start + size]
        found = {name: self.value(member) for name, member in kind.fields}
        self.body, self.at = outer, start + size
        return found

    def primitive(self, kind: PrimitiveType) -> Any:
        if kind.name == "string":
            raw = self.take(self.number("I", 4))
            if self.wire.version and raw.endswith(b"\0"):
                raw = raw[:-1]
            return raw.decode(errors="replace")
        if kind.name == "wstring":
            return self.wide()
        if kind.name == "wchar":
            size = self.wire.char_bytes
            return self.number({2: "H", 4: "I"}[size], size) & 0xFFFF
        letter = self.wire.letter(kind.name)
        number = self.number(letter, struct.calcsize(letter))
        return bool(number) if kind.name == "bool" else number

    def wide(self) -> str:
        length, size = self.number("I", 4), self.wire.unit_bytes
        count = length // size if self.wire.counts_bytes else length
        letter = {2: "H", 4: "I"}[size]
        units = struct.unpack(self.wire.code(f"{count}{letter}"), self.take(count * size))
        letters = [chr(unit) if unit < 0x110000 else "\ufffd" for unit in units]
        raw = b"".join(letter.encode("utf-16-le", "surrogatepass") for letter in letters)
        return raw.decode("utf-16-le", "replace")

    def weightless(self, kind: FieldType) -> bool:
        if isinstance(kind, MessageType):
            members = [self.weightless(member) for _, member in kind.fields]
            return self.wire.version == 0 and (is_empty(kind) or all(members))
        return isinstance(kind, ArrayType) and self.weightless(kind.element)

    def collection(self, kind: ArrayType | SequenceType) -> list[Any]:
        if self.wire.version == 2 and not is_number(kind.element):
            self.number("I", 4)
        if isinstance(kind, ArrayType):
            return [self.value(kind.element) for _ in range(kind.length)]
        count = self.number("I", 4)
        if count > (WEIGHTLESS_MAX if self.weightless(kind.element) else len(self.body)):
            raise MalformedError("truncated")
        values = [self.value(kind.element) for _ in range(count)]
        if kind.bound and count > kind.bound:
            raise MalformedError("bound_exceeded")
        return values


def encode(kind: MessageType, value: Any, wire: Wire) -> bytes:
    """Write one message."""
    writer = Writer(wire, bytearray())
    writer.message(kind, value, delimited=wire.delimited)
    return wire.header + bytes(writer.body)


def decode(kind: MessageType, payload: bytes, wire: Wire) -> Any:
    """Read one message; bytes behind its last field are ignored.

    Raises:
        MalformedError: The payload does not fit the type.
    """
    if len(payload) < len(wire.header):
        raise MalformedError("truncated")
    if wire.header and payload[:2] != wire.header[:2]:
        raise MalformedError("unsupported_encapsulation")
    reader = Reader(wire, payload[len(wire.header) :])
    # Writers that are none of ROS 2 leave the dummy byte of an empty message out.
    if is_empty(kind) and (wire.version == 0 or len(payload) == len(wire.header)):
        return {EMPTY_MEMBER: 0}
    return reader.message(kind, delimited=wire.delimited)
