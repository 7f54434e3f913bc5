"""Parsed types -> the tree of a message with everything below it; its one text, and its layout."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bridge.definitions.names import (
    PRIMITIVES,
    kind_of,
    missing_definition_hint,
)
from bridge.definitions.syntax import (
    Declared,
    ParsedMessage,
    RawArray,
    RawSequence,
    RawType,
    Reference,
    Unreadable,
)
from bridge.errors import DefinitionError
from bridge.model import (
    DUMMY_MEMBER,
    ArrayType,
    FieldType,
    MessageType,
    PrimitiveType,
    SequenceType,
)

DEPTH_MAX = 64
"""The deepest nesting of messages; deeper ones come from nobody's robot."""

LEAVES_MAX = 20_000
"""The most columns a message may become; nesting multiplies them without bound otherwise."""

FIXED_BYTES_MAX = 64 << 20
"""The most bytes that the fixed arrays of a message may claim together."""

_RULE = "=" * 80
ROS1_BUILT_IN = {
    "builtin_interfaces/msg/Time": "time",
    "builtin_interfaces/msg/Duration": "duration",
}

Lookup = Callable[[str], Declared | None]
"""Gives what a full name stands for."""


@dataclass(frozen=True, slots=True)
class _Sized:
    """A type, how many leaf columns it has, and the bytes of its fixed arrays."""

    kind: FieldType
    leaves: int
    fixed_bytes: int


@dataclass(slots=True)
class TypeTree:
    """Turns parsed types into a tree, every type once.

    Attributes:
        root: The message that is being built, for error messages.
        lookup: Finds types by name.
        used: What was found, by name.
        missing: The type that was not found, or empty.
    """

    root: str
    lookup: Lookup
    used: dict[str, Declared] = field(default_factory=dict)
    missing: str = ""
    _done: dict[str, _Sized] = field(default_factory=dict)
    _open: set[str] = field(default_factory=set)

    def build(self) -> MessageType:
        """Build the tree.

        Raises:
            DefinitionError: A type is missing, cannot be decoded, or is beyond the limits.
        """
        kind = self._named(self.root, (self.root,), depth=0).kind
        if not isinstance(kind, MessageType):
            raise self._error(f"{self.root} is no message")
        return kind

    def _named(self, owner: str, candidates: Iterable[str], *, depth: int) -> _Sized:
        """Give what a name stands for inside a type."""
        candidates = tuple(candidates)
        for name in candidates:
            if name in self._done:
                return self._done[name]
            declared = self.used.get(name) or self.lookup(name)
            if declared is not None:
                self.used[name] = declared
                return self._declared(name, declared, depth=depth)
        # Of the scopes that a name in IDL may have, that of its package says most.
        self.missing = next((each for each in candidates if kind_of(each)), candidates[0])
        raise DefinitionError(
            f"{owner} uses {self.missing}, which is not defined anywhere.",
            msgtype=self.root,
            hint=missing_definition_hint(self.missing),
        )

    def _declared(self, name: str, declared: Declared, *, depth: int) -> _Sized:
        if name in self._open:
            raise self._error(f"{name} contains itself, so its values would never end")
        if depth > DEPTH_MAX:
            raise self._error(f"messages are nested more than {DEPTH_MAX} deep")
        if isinstance(declared, Unreadable):
            raise self._error(f"{name} is {declared.reason}")
        self._open.add(name)
        if isinstance(declared, ParsedMessage):
            sized = self._message(name, declared, depth=depth)
        else:
            sized = self._field(name, name, declared, depth=depth)
        self._open.discard(name)
        self._done[name] = sized
        return sized

    def _message(self, name: str, parsed: ParsedMessage, *, depth: int) -> _Sized:
        members: list[tuple[str, FieldType]] = []
        leaves = fixed_bytes = 0
        if parsed.base is not None:
            base = self._named(name, parsed.base.candidates, depth=depth + 1)
            if not isinstance(base.kind, MessageType):
                raise self._error(f"{name} extends {base.kind}, which is no struct")
            members += [each for each in base.kind.fields if each[0] != DUMMY_MEMBER]
            leaves, fixed_bytes = base.leaves, base.fixed_bytes
        if parsed.extensibility == "mutable":
            raise self._error(f"{name} is mutable, and members with numbers are not decoded")
        for field_name, raw in parsed.fields:
            sized = self._field(name, field_name, raw, depth=depth)
            members.append((field_name, sized.kind))
            leaves += sized.leaves
            fixed_bytes += sized.fixed_bytes
        names = [field_name for field_name, _ in members]
        if len(set(names)) < len(names):
            twice = next(each for each in names if names.count(each) > 1)
            raise self._error(f"{name} declares the field {twice} twice")
        self._check_size(leaves, fixed_bytes)
        if not members:
            members, leaves, fixed_bytes = [(DUMMY_MEMBER, PrimitiveType(name="uint8"))], 1, 1
        message = MessageType(
            name=parsed.name,
            fields=tuple(members),
            constants=parsed.constants,
            extensibility=parsed.extensibility,
        )
        return _Sized(message, leaves, fixed_bytes)

    def _field(self, owner: str, field_name: str, raw: RawType, *, depth: int) -> _Sized:
        """Resolve the type of a field."""
        if isinstance(raw, Unreadable):
            raise self._error(f"the field {field_name} of {owner} is {raw.reason}")
        if isinstance(raw, PrimitiveType):
            if raw.name not in PRIMITIVES:
                raise self._error(f"{owner} uses {raw.name}, which ROS cannot send")
            return _Sized(raw, 1, 1)
        if isinstance(raw, Reference):
            return self._named(owner, raw.candidates, depth=depth + 1)
        element = self._field(owner, field_name, raw.element, depth=depth)
        if isinstance(raw, RawSequence):
            return _Sized(SequenceType(element=element.kind, bound=raw.bound), element.leaves, 1)
        return self._array(owner, element, raw)

    def _array(self, owner: str, element: _Sized, raw: RawArray) -> _Sized:
        if raw.length < 1:
            raise self._error(f"{owner} declares an array of {raw.length} elements")
        fixed_bytes = element.fixed_bytes * raw.length
        self._check_size(element.leaves, fixed_bytes)
        kind = ArrayType(element=element.kind, length=raw.length)
        return _Sized(kind, element.leaves, fixed_bytes)

    def _check_size(self, leaves: int, fixed_bytes: int) -> None:
        if leaves > LEAVES_MAX:
            raise self._error(f"it has more than {LEAVES_MAX} columns")
        if fixed_bytes > FIXED_BYTES_MAX:
            raise self._error(f"its fixed arrays hold more than {FIXED_BYTES_MAX} values")

    def _error(self, what: str) -> DefinitionError:
        return DefinitionError(
            f"The definition of {self.root} is unusable: {what}.", msgtype=self.root
        )


def canonical_text(message_type: MessageType, *, ros1: bool = False) -> str:
    """Write a definition: constants, fields, then every type used, in order of first use.

    Comments, blank lines and default values are gone; two texts are equal where the definitions
    mean the same. Bounds are kept.

    Args:
        message_type: The message.
        ros1: Whether times and durations are written as the primitives they are in ROS 1.
    """
    used: dict[str, MessageType] = {}
    _collect(message_type, used, ros1=ros1)
    parts = [_body(message_type, ros1=ros1)]
    parts += [
        f"{_RULE}\nMSG: {_short(name)}\n{_body(message, ros1=ros1)}"
        for name, message in used.items()
    ]
    return "".join(parts)


def _collect(message: MessageType, used: dict[str, MessageType], *, ros1: bool) -> None:
    """Note the messages below one, depth first, each where it is first used."""
    for _, kind in message.fields:
        element = kind.element if isinstance(kind, ArrayType | SequenceType) else kind
        if not isinstance(element, MessageType) or element.name in used:
            continue
        if not (ros1 and element.name in ROS1_BUILT_IN):
            used[element.name] = element
            _collect(element, used, ros1=ros1)


def _body(message: MessageType, *, ros1: bool) -> str:
    lines = [f"{item.type_name} {item.name}={item.value}" for item in message.constants]
    lines += [
        f"{_written(kind, ros1=ros1)} {name}"
        for name, kind in message.fields
        if name != DUMMY_MEMBER
    ]
    return "".join(f"{line}\n" for line in lines)


def _written(kind: FieldType, *, ros1: bool) -> str:
    if isinstance(kind, PrimitiveType):
        return f"{kind.name}<={kind.bound}" if kind.bound else kind.name
    if isinstance(kind, ArrayType):
        return f"{_written(kind.element, ros1=ros1)}[{kind.length}]"
    if isinstance(kind, SequenceType):
        bound = f"<={kind.bound}" if kind.bound else ""
        return f"{_written(kind.element, ros1=ros1)}[{bound}]"
    if ros1 and kind.name in ROS1_BUILT_IN:
        return ROS1_BUILT_IN[kind.name]
    return _short(kind.name)


def _short(name: str) -> str:
    """Write `pkg/Name` for `pkg/msg/Name`."""
    return name.replace("/msg/", "/")


# How these are written and what they become does not differ (ROS 1's byte is signed, but a
# recording does not mix ROS 1 and ROS 2).
_SAME_LAYOUT = {"octet": "byte", "char": "uint8"}


def layout_of(message_type: MessageType) -> tuple[object, ...]:
    """Give what makes messages decode alike: names and types of the fields, and nothing else.

    Two definitions with equal layouts define one topic, whatever else their texts say: constants,
    comments, names of nested types, bounds of strings. Bounds of sequences are checked when
    messages are decoded, so they count.
    """
    return (
        message_type.extensibility,
        *((name, _layout(kind)) for name, kind in message_type.fields),
    )


def _layout(kind: FieldType) -> object:
    if isinstance(kind, PrimitiveType):
        return _SAME_LAYOUT.get(kind.name, kind.name)
    if isinstance(kind, ArrayType):
        return ("array", kind.length, _layout(kind.element))
    if isinstance(kind, SequenceType):
        return ("sequence", kind.bound, _layout(kind.element))
    return layout_of(kind)
