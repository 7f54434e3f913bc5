"""What the grammars give: types whose fields still name other types instead of holding them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.model import Constant, PrimitiveType


class GrammarError(Exception):
    """A text is not of its grammar. The message says what was not understood."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A type named by a field.

    Attributes:
        candidates: The full names it may have, the most likely first.
    """

    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawArray:
    """A fixed number of elements."""

    element: "RawType"
    length: int


@dataclass(frozen=True, slots=True)
class RawSequence:
    """A variable number of elements, at most `bound` where it is not 0."""

    element: "RawType"
    bound: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A type that is understood but cannot be decoded; `reason` completes "X is ..."."""

    reason: str


RawType = PrimitiveType | Reference | RawArray | RawSequence | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedMessage:
    """One message or struct, by itself.

    Attributes:
        name: Its full name, as `pkg/msg/Name`.
        fields: Names and types in order; of a struct that extends another, only its own.
        constants: Its constants in order.
        written: The values of the constants as they were written; ROS 1 hashes them.
        extensibility: `final`, `appendable`, `mutable`, or empty where nothing is said.
        base: The struct it extends, or None.
    """

    name: str
    fields: tuple[tuple[str, RawType], ...]
    constants: tuple[Constant, ...] = ()
    written: tuple[str, ...] = ()
    extensibility: str = ""
    base: Reference | None = None


Declared = ParsedMessage | PrimitiveType | RawArray | RawSequence | Unreadable | Reference
"""What a full name may stand for: a message, or what a typedef or an enumeration comes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedText:
    """All types of one text.

    Attributes:
        types: By full name.
        includes: The files an IDL text includes, as written and without their ending.
    """

    types: Mapping[str, Declared]
    includes: tuple[str, ...] = field(default=())
