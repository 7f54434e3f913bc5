"""Definition text -> a tree of types, by rosbags' parsers after curing what they refuse."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg

from bridge.definitions.interfaces import derived_messages
from bridge.definitions.names import DUMMY_MEMBER, PRIMITIVES
from bridge.errors import DefinitionError
from bridge.model import (
    ArrayType,
    Constant,
    Definition,
    FieldType,
    MessageType,
    PrimitiveType,
    SequenceType,
)

DEFINITION_CHARS_MAX = 4 << 20
"""The longest definition that is parsed at all."""

DEPTH_MAX = 64
"""The deepest nesting of messages; deeper ones come from nobody's robot."""

LEAVES_MAX = 20_000
"""The most columns a message may become; nesting multiplies them without bound otherwise."""

FIXED_BYTES_MAX = 64 << 20
"""The most bytes that the fixed arrays of a message may claim together."""

LINES_MAX = 20_000
"""The most lines of a definition without comments; rosbags' parser is quadratic in them."""

_POSITION_LINE = 2
_NAMES_SHOWN = 5

_Parsed = tuple[Sequence[tuple[str, str, Any]], Sequence[tuple[str, Any]]]

_SECTION = re.compile(r"^={20,}[ \t]*\n(?:MSG|IDL):[ \t]*(\S+)[ \t]*\n", re.MULTILINE)
_COMMENT_LINE = re.compile(r"^[ \t]*#[^\n]*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_WIDE_CONSTANT = re.compile(r"^[ \t]*wstring(?:<=\d+)?([ \t]+(\w+)[ \t]*=)", re.MULTILINE)
_WIDE_BOUNDED = re.compile(r"^([ \t]*)wstring<=(\d+)", re.MULTILINE)
_WIDE_NAME = re.compile(r"wstring(?:_bound(\d+))?")
_IDL_PREPROCESSOR = re.compile(r"^[ \t]*#[^\n]*$", re.MULTILINE)

_TIME_FIELDS = [
    ("sec", (Nodetype.BASE, ("int32", 0))),
    ("nanosec", (Nodetype.BASE, ("uint32", 0))),
]
_STAMP = ("stamp", (Nodetype.NAME, "builtin_interfaces/msg/Time"))
_FRAME_ID = ("frame_id", (Nodetype.BASE, ("string", 0)))
_SEQ = ("seq", (Nodetype.BASE, ("uint32", 0)))

BUILT_IN: Mapping[str, _Parsed] = {
    "builtin_interfaces/msg/Time": ([], _TIME_FIELDS),
    "builtin_interfaces/msg/Duration": ([], _TIME_FIELDS),
    "std_msgs/msg/Header": ([], [_STAMP, _FRAME_ID]),
}
"""What recorders leave out of embedded definitions because every ROS has it."""

BUILT_IN_ROS1: Mapping[str, _Parsed] = {
    **BUILT_IN,
    "std_msgs/msg/Header": ([], [_SEQ, _STAMP, _FRAME_ID]),
}


def parse_definition(msgtype: str, definition: Definition) -> MessageType:
    """Parse a definition and resolve every type it uses.

    Args:
        msgtype: The type to resolve, as `pkg/msg/Name` or `pkg/Name`.
        definition: Its text, with those of the types it uses.

    Raises:
        DefinitionError: The text cannot be parsed, lacks a type it uses, or describes a message
            beyond the limits of this module.
    """
    name = normalise(msgtype)
    if len(definition.text) > DEFINITION_CHARS_MAX:
        raise DefinitionError(
            f"The definition of {name} has {len(definition.text)} characters;"
            f" {DEFINITION_CHARS_MAX} is the most that is parsed.",
            msgtype=name,
        )
    is_idl = definition.encoding in {"ros2idl", "omgidl"}
    try:
        parsed = _parse_idl(definition.text) if is_idl else _parse_msg(name, definition.text)
    except Exception as error:  # whatever the parsers do with hostile text, it is the text
        reason = str(error)[:300] or type(error).__name__
        raise DefinitionError(
            f"The definition of {name} cannot be parsed: {reason}", msgtype=name
        ) from error
    built_in = BUILT_IN_ROS1 if definition.encoding == "ros1msg" else BUILT_IN
    if name not in parsed:
        raise DefinitionError(
            f"The definition of {name} defines {_listed(parsed)} instead.", msgtype=name
        )
    return _Resolver(root=name, parsed={**built_in, **parsed}).resolve(name, depth=0)


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)[:_NAMES_SHOWN]
    return ", ".join(shown) or "nothing"


def normalise(name: str) -> str:
    """Give a type name its three segments: `pkg/Name` and `pkg/srv/msg/Name` are cured."""
    name = name.strip().strip("/")
    if "/" not in name:
        return name
    package, *kinds, short = name.split("/")
    # rosbags puts `msg` before the last segment of every name that has no `msg` or `action`.
    kind = kinds[0] if kinds else "msg"
    return f"{package}/{kind}/{short}"


def _parse_msg(name: str, text: str) -> dict[str, _Parsed]:
    """Parse `.msg` text, section by section: the message itself, then the types it uses."""
    text = _BLANK_LINES.sub("\n", _COMMENT_LINE.sub("", _plain(text)))
    lines = text.count("\n")
    if lines > LINES_MAX:
        raise TypesysError(f"it has {lines} lines, {LINES_MAX} is the most")
    pieces = _SECTION.split(text)
    sections = {
        normalise(title): body for title, body in zip(pieces[1::2], pieces[2::2], strict=True)
    }
    if pieces[0].strip() or name not in sections:
        derived = derived_messages(name, pieces[0])
        sections = {**sections, **(derived or {name: pieces[0]})}
    parsed: dict[str, _Parsed] = {}
    for title, body in sections.items():
        wide = {match[2] for match in _WIDE_CONSTANT.finditer(body)}
        cured = _WIDE_CONSTANT.sub(r"string\1", body)
        cured = _WIDE_BOUNDED.sub(r"\1wstring_bound\2", cured)
        try:
            types = get_types_from_msg(cured, title)
        except TypesysError as error:
            offence = _offence(error, f"MSG: {title}\n{cured}")
            raise TypesysError(f"{title}: {offence}") from error
        for key, (constants, fields) in types.items():
            retyped = [
                (constant, "wstring" if constant in wide else base, value)
                for constant, base, value in constants
            ]
            parsed[normalise(key)] = (retyped, fields)
    return parsed


def _parse_idl(text: str) -> dict[str, _Parsed]:
    """Parse IDL text, file by file where several were put together."""
    pieces = _SECTION.split(_plain(text))
    parsed: dict[str, _Parsed] = {}
    for body in [pieces[0], *pieces[2::2]]:
        cured = _IDL_PREPROCESSOR.sub("", body)
        if cured.strip():
            try:
                types = get_types_from_idl(cured)
            except TypesysError as error:
                raise TypesysError(_offence(error, cured)) from error
            parsed |= {normalise(key): value for key, value in types.items()}
    return parsed


def _offence(error: TypesysError, source: str) -> str:
    """Say what the parser stumbled over; it reports whole texts, with the position below them."""
    report = str(error).splitlines()
    if len(report) > _POSITION_LINE and report[_POSITION_LINE].isdigit():
        offence = source[int(report[_POSITION_LINE]) :].split("\n", 1)[0].strip()
        return f"not understood: {offence[:100]!r}"
    return report[0][:200] if report else type(error).__name__


def _plain(text: str) -> str:
    """Give the text with bare newlines and without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


@dataclass(slots=True)
class _Resolver:
    """Turns parsed definitions into a tree, every type once.

    Attributes:
        root: The message that is being resolved, for error messages.
        parsed: All definitions at hand, by normalised name.
    """

    root: str
    parsed: Mapping[str, _Parsed]
    _done: dict[str, MessageType] = field(default_factory=dict)
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _open: set[str] = field(default_factory=set)

    def resolve(self, name: str, *, depth: int) -> MessageType:
        """Resolve one message and all below it."""
        known = self._done.get(name)
        if known is not None:
            return known
        if name in self._open:
            raise self._error(f"{name} contains itself, so its values would never end")
        if depth > DEPTH_MAX:
            raise self._error(f"messages are nested more than {DEPTH_MAX} deep")
        constants, fields = self.parsed[name]
        self._open.add(name)
        members: list[tuple[str, FieldType]] = []
        leaves = fixed_bytes = 0
        seen: set[str] = set()
        for field_name, description in fields or [(DUMMY_MEMBER, (Nodetype.BASE, ("uint8", 0)))]:
            if field_name in seen:
                raise self._error(f"{name} declares the field {field_name} twice")
            seen.add(field_name)
            kind, kind_leaves, kind_bytes = self._field(name, description, depth=depth)
            members.append((field_name, kind))
            leaves += kind_leaves
            fixed_bytes += kind_bytes
        self._check_size(leaves, fixed_bytes)
        self._open.discard(name)
        self._sizes[name] = (leaves, fixed_bytes)
        self._done[name] = MessageType(
            name=name,
            fields=tuple(members),
            constants=tuple(
                Constant(name=constant, type_name=base, value=value)
                for constant, base, value in constants
            ),
        )
        return self._done[name]

    def _field(self, owner: str, description: Any, *, depth: int) -> tuple[FieldType, int, int]:
        """Resolve a field: its type, how many leaf columns it has, and its fixed bytes."""
        node, detail = description
        if node == Nodetype.BASE:
            name, bound = detail
            if name not in PRIMITIVES:
                raise self._error(f"{owner} uses {name}, which ROS cannot send")
            return PrimitiveType(name=name, bound=bound), 1, 1
        if node == Nodetype.NAME:
            wide = _WIDE_NAME.fullmatch(detail.rsplit("/", 1)[-1])
            if wide:
                return PrimitiveType(name="wstring", bound=int(wide[1] or 0)), 1, 1
            name = self._find(owner, detail)
            message = self.resolve(name, depth=depth + 1)
            return message, *self._sizes[name]
        inner, length = detail
        element, leaves, fixed_bytes = self._field(owner, inner, depth=depth)
        if node == Nodetype.SEQUENCE:
            return SequenceType(element=element, bound=length), leaves, 1
        if length < 1:
            raise self._error(f"{owner} declares an array of {length} elements")
        self._check_size(leaves, fixed_bytes * length)
        return ArrayType(element=element, length=length), leaves, fixed_bytes * length

    def _find(self, owner: str, reference: str) -> str:
        """Give the full name of a type as it is referred to inside another."""
        name = normalise(reference)
        package, short = name.split("/", 1)[0], name.rsplit("/", 1)[-1]
        home = owner.split("/", 1)[0]
        for candidate in (name, f"{home}/msg/{short}"):
            if candidate in self.parsed:
                return candidate
        raise DefinitionError(
            f"{owner} uses {name}, which is not defined anywhere.",
            msgtype=self.root,
            hint=f"Put the .msg or .idl files of package {package} into a folder and name it in"
            " `definitions.folders`.",
        )

    def _check_size(self, leaves: int, fixed_bytes: int) -> None:
        if leaves > LEAVES_MAX:
            raise self._error(f"it has more than {LEAVES_MAX} columns")
        if fixed_bytes > FIXED_BYTES_MAX:
            raise self._error(f"its fixed arrays hold more than {FIXED_BYTES_MAX} values")

    def _error(self, what: str) -> DefinitionError:
        return DefinitionError(
            f"The definition of {self.root} is unusable: {what}.", msgtype=self.root
        )
