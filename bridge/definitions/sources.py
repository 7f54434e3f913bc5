"""Texts of definitions, embedded or found elsewhere, and the types they declare.

Types that a recording does not define are looked for in this order, each on its own: the configured
folders, the folders of `AMENT_PREFIX_PATH`, the stock types of the distribution that the recording
names, or else of the configured one, and last the stock types that are the same in every
distribution. A type that none of them knows, or on which distributions differ, is not guessed.

Texts are parsed section by section: recorders put those of several files into one definition, with
a line of `=` and a title in front of each but mostly the first. A process that reads a thousand
files of one robot sees the same few texts again and again, so what was parsed is kept.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from bridge.definitions.idl_expressions import Constants, UnknownConstantError
from bridge.definitions.idl_grammar import parse_idl
from bridge.definitions.msg_grammar import (
    event_of,
    interface_messages,
    is_interface_text,
    parse_msg,
)
from bridge.definitions.names import interface_of, kind_of, normal_msgtype
from bridge.definitions.syntax import (
    Declared,
    GrammarError,
    ParsedMessage,
    ParsedText,
    RawArray,
    RawSequence,
    RawType,
    Reference,
)
from bridge.errors import DefinitionError
from bridge.facade import later
from bridge.model import DUMMY_MEMBER, Constant, Definition, PrimitiveType

# Needed only where a recording does not carry its definitions.
interfaces = later("rosbags.interfaces")
typesys = later("rosbags.typesys")

DEFINITION_CHARS_MAX = 4 << 20
"""The longest definition that is parsed at all."""

MSG_ENCODINGS = frozenset({"ros2msg", "ros1msg"})
IDL_ENCODINGS = frozenset({"ros2idl", "omgidl"})
UNDEFINED_ENCODINGS = frozenset({"", "unknown"})
"""What rosbag2 writes for a type whose definition it could not find, or found without others."""

KEPT_CHARS_MAX = 64 << 10
"""Longer sections are not kept."""

_SECTIONS_KEPT = 2048
# The rule may be glued to what is around it, or missing: nothing else looks like a title.
_SECTION = re.compile(
    r"(?:(?<!=)={3,}\s*|^[ \t]*)(MSG|IDL|SRV|ACTION)[ \t]*:[ \t]*(\S+)[ \t]*(?:\n|\Z)",
    re.MULTILINE,
)
_STARTS_TITLED = re.compile(r"\s*(?:={3,}\s*)?(MSG|IDL|SRV|ACTION)[ \t]*:")

# A NUL ends a text in C, and Ctrl-Z ended files of DOS: neither is part of one.
_LINE_ENDS = str.maketrans("\r\0\x1a", "\n\n\n")

FILE_BYTES_MAX = 1 << 20
"""A longer definition file is no definition file."""

EVERY_DISTRIBUTION = "every distribution"
"""Source of stock types on which all distributions agree."""

ROS1_DISTRIBUTION = "noetic"
"""The one distribution of ROS 1 that is known; its stock types had not changed for years."""

_TIME = (
    ("sec", PrimitiveType(name="int32")),
    ("nanosec", PrimitiveType(name="uint32")),
)
_STAMP = ("stamp", Reference(("builtin_interfaces/msg/Time",)))
_FRAME_ID = ("frame_id", PrimitiveType(name="string"))
_SEQ = ("seq", PrimitiveType(name="uint32"))

_BUILT_IN: Mapping[str, tuple[tuple[str, RawType], ...]] = {
    "builtin_interfaces/msg/Time": _TIME,
    "builtin_interfaces/msg/Duration": _TIME,
    "std_msgs/msg/Header": (_STAMP, _FRAME_ID),
}
# ROS 1 counts seconds since 1970 without a sign, and both parts of a duration have one
# (wiki.ros.org/msg, section 2.1.1).
_BUILT_IN_ROS1: Mapping[str, tuple[tuple[str, RawType], ...]] = {
    "builtin_interfaces/msg/Time": (
        ("sec", PrimitiveType(name="uint32")),
        ("nanosec", PrimitiveType(name="uint32")),
    ),
    "builtin_interfaces/msg/Duration": (
        ("sec", PrimitiveType(name="int32")),
        ("nanosec", PrimitiveType(name="int32")),
    ),
    "std_msgs/msg/Header": (_SEQ, _STAMP, _FRAME_ID),
}

# The deprecated name is still in most recordings of ROS 1; rosbags has the newer one alone.
_SAME_AS = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}

# Names come from recordings and become paths: nothing but plain words may pass.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*/(msg|srv|action)/[A-Za-z][A-Za-z0-9_]*")


class Found(NamedTuple):
    """What a place knows: the type asked for, and others that its file declares."""

    text: ParsedText
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionSources:
    """Where definitions are looked for.

    Attributes:
        folders: Folders that hold packages: `<package>/msg/<Name>.msg` or `.idl`, directly, one
            folder deeper (a workspace of repositories), or below `share`; or a package itself.
        distro: The distribution whose stock types stand in where a recording names none we know.
        ament_prefix_path: The value of `AMENT_PREFIX_PATH`, or empty.
    """

    folders: tuple[Path, ...] = ()
    distro: str = ""
    ament_prefix_path: str = ""

    def find(self, msgtype: str, *, distro: str = "", ros1: bool = False) -> Found | None:
        """Find one type, without those it uses.

        Args:
            msgtype: `pkg/msg/Name`, or a type derived from a service or an action.
            distro: The distribution that the recording names, where it does.
            ros1: Whether the recording is of ROS 1, whose stock types are others.

        Raises:
            DefinitionError: A file of that name cannot be understood.
        """
        if not _NAME.fullmatch(msgtype):
            return None
        return self._in_files(msgtype, ros1=ros1) or self._in_stock(msgtype, distro, ros1=ros1)

    def included(self, path: str) -> Found | None:
        """Find the IDL file that another includes as `pkg/kind/Name`."""
        name = normal_msgtype(path)
        return self._file(name, "idl", ros1=False) if _NAME.fullmatch(name) else None

    def _in_files(self, msgtype: str, *, ros1: bool) -> Found | None:
        for ending in ("msg", "idl"):
            found = self._file(msgtype, ending, ros1=ros1)
            if found is not None and msgtype in found.text.types:
                return found
        interface = interface_of(msgtype)
        if not interface:
            return None
        found = self._file(interface, kind_of(interface), ros1=ros1)
        if found is None:
            found = self._file(interface, "idl", ros1=ros1)
        if found is None:
            return None
        types = with_derived(found.text.types, msgtype)
        return Found(ParsedText(types=types), found.source) if msgtype in types else None

    def _in_stock(self, msgtype: str, distro: str, *, ros1: bool) -> Found | None:
        if ros1:
            names: tuple[str, ...] = (ROS1_DISTRIBUTION,)
        else:
            names = tuple(name for name in (distro, self.distro) if name != ROS1_DISTRIBUTION)
        for name in dict.fromkeys(filter(None, names)):
            known = stock_type(msgtype, distro=name)
            if known is not None:
                return Found(ParsedText(types={msgtype: known}), name)
        # Types of ROS 2 that ROS 1 had, too; whether they are the same only their md5 can tell.
        agreed = undisputed_type(msgtype)
        if agreed is None:
            return None
        return Found(ParsedText(types={msgtype: agreed}), EVERY_DISTRIBUTION)

    def _file(self, name: str, ending: str, *, ros1: bool) -> Found | None:
        """Find and parse the file of a type; links are followed: the folders are the operator's."""
        package, kind, own = name.split("/")
        for root, folder in self._packages(package):
            path = folder / kind / f"{own}.{ending}"
            try:
                if not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
                    continue
                text = path.read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            try:
                return Found(parse_file(name, ending, text, ros1=ros1), str(root))
            except GrammarError as error:
                raise DefinitionError(
                    f"{path} cannot be understood: {error}",
                    msgtype=name,
                    hint="correct the file, or take its folder out of definitions.folders",
                ) from error
        return None

    def _packages(self, package: str) -> Iterator[tuple[Path, Path]]:
        """Name the folders where a package may be, with the root each belongs to."""
        for root in self.folders:
            if root.name == package:
                yield root, root
            yield root, root / package
            yield root, root / "share" / package
            yield from ((root, folder) for folder in sorted(root.glob(f"*/{package}")))
        for prefix in filter(None, self.ament_prefix_path.split(":")):
            yield Path(prefix), Path(prefix) / "share" / package


def with_derived(types: Mapping[str, Declared], msgtype: str) -> dict[str, Declared]:
    """Add what ROS derives from a service or action to types that hold its parts.

    That is a service's event, and of an action everything but its goal, result and feedback.
    """
    service = msgtype.removesuffix("_Event")
    if service != msgtype and {f"{service}_Request", f"{service}_Response"} <= types.keys():
        return {**event_of(service), **types}
    action = interface_of(msgtype)
    parts = {f"{action}{part}" for part in ("_Goal", "_Result", "_Feedback")}
    if kind_of(action) == "action" and parts <= types.keys():
        return {**interface_messages(action, "---\n---\n"), **types}
    return dict(types)


def built_in(msgtype: str, *, ros1: bool) -> ParsedMessage | None:
    """Give a type that recorders leave out of embedded definitions, as every ROS has it."""
    fields = (_BUILT_IN_ROS1 if ros1 else _BUILT_IN).get(msgtype)
    return None if fields is None else ParsedMessage(name=msgtype, fields=fields)


@lru_cache(maxsize=4096)
def stock_type(msgtype: str, *, distro: str) -> ParsedMessage | None:
    """Give a distribution's stock type; None for what it, or rosbags, does not have."""
    data = _stock(distro.strip().lower()).get(_SAME_AS.get(msgtype, msgtype))
    return None if data is None else _parsed(msgtype, *data)


@cache
def undisputed_type(msgtype: str) -> ParsedMessage | None:
    """Give a stock type that has the same fields in every ROS 2 distribution.

    None where distributions differ, or none has the type. Types below it may be disputed.
    Constants do not change how messages decode and are the latest.
    """
    name = _SAME_AS.get(msgtype, msgtype)
    versions = [store[name] for store in _ros2_stores() if name in store]
    fields = [fields for _, fields in versions]
    if not versions or any(each != fields[0] for each in fields):
        return None
    return _parsed(msgtype, *versions[-1])


@cache
def _ros2_stores() -> tuple[Mapping[str, tuple[Any, Any]], ...]:
    return tuple(
        typesys.get_typestore(store).fielddefs
        for store in typesys.Stores
        if store.value.startswith("ros2_")
    )


@cache
def _stock(distro: str) -> Mapping[str, tuple[Any, Any]]:
    """Load the stock types of a distribution; none for distributions that rosbags lacks."""
    for store in typesys.Stores:
        _, version, name = store.value.partition("_")
        if version and name == distro:
            fields: Mapping[str, tuple[Any, Any]] = typesys.get_typestore(store).fielddefs
            return fields
    return {}


def _parsed(
    msgtype: str, constants: Sequence[tuple[str, str, Any]], fields: Sequence[tuple[str, Any]]
) -> ParsedMessage:
    return ParsedMessage(
        name=msgtype,
        fields=tuple(
            (name, _raw(description)) for name, description in fields if name != DUMMY_MEMBER
        ),
        constants=tuple(
            Constant(name=name, type_name=type_name, value=value)
            for name, type_name, value in constants
        ),
        written=tuple(str(value) for _, _, value in constants),
    )


def _raw(description: Any) -> RawType:
    """Take a field's type as rosbags describes it."""
    kind, detail = description
    kinds = interfaces.Nodetype
    if kind == kinds.BASE:
        name, bound = detail
        return PrimitiveType(name=name, bound=bound)
    if kind == kinds.NAME:
        return Reference((str(detail),))
    element, count = detail
    if kind == kinds.ARRAY:
        return RawArray(_raw(element), count)
    return RawSequence(_raw(element), count)


def embedded_definition(encoding: str, text: str) -> Definition | None:
    """Make a definition of what a recording embeds; None where that defines nothing.

    rosbag2 names the encoding of services and actions that use no other type `unknown`, although
    it found their text.
    """
    encoding = encoding.strip().lower()
    if encoding in MSG_ENCODINGS | IDL_ENCODINGS:
        return Definition(encoding=encoding, text=text)
    titled = _STARTS_TITLED.match(text) if encoding in UNDEFINED_ENCODINGS else None
    if titled is None:
        return None
    return Definition(encoding="ros2idl" if titled[1] == "IDL" else "ros2msg", text=text)


def parse_text(name: str, definition: Definition) -> ParsedText:
    """Parse all sections of a definition.

    Args:
        name: The type that is defined; the section without a title is its.
        definition: The text.

    Raises:
        GrammarError: A section cannot be understood, or the text is too long.
    """
    if len(definition.text) > DEFINITION_CHARS_MAX:
        raise GrammarError(
            f"it has {len(definition.text)} characters, {DEFINITION_CHARS_MAX} is the most"
        )
    lead, *titled = _SECTION.split(_plain(definition.text))
    sections = list(zip(titled[0::3], titled[1::3], titled[2::3], strict=True))
    ros1 = definition.encoding == "ros1msg"
    types: dict[str, Declared] = {}
    idl = [body for kind, _, body in sections if kind == "IDL"]
    for kind, title, body in sections:
        if kind != "IDL":
            types |= _titled(normal_msgtype(title), body, ros1=ros1)
    if definition.encoding in IDL_ENCODINGS and lead.strip():
        idl.insert(0, lead)
    elif definition.encoding in MSG_ENCODINGS and (lead.strip() or not (types or idl)):
        types |= _titled(name, lead, ros1=ros1)
    return ParsedText(types={**_all_idl(idl), **types})


def parse_file(name: str, ending: str, text: str, *, ros1: bool) -> ParsedText:
    """Parse the text of one file by its ending: `msg`, `idl`, `srv` or `action`.

    Args:
        name: The type or interface that the file is named after.
        ending: The file's ending without the dot.
        text: Its content.
        ros1: Whether it is read for a recording of ROS 1.

    Raises:
        GrammarError: It cannot be understood.
    """
    if ending == "idl":
        return _idl(_plain(text))
    return ParsedText(types=_titled(name, _plain(text), ros1=ros1))


def _titled(name: str, body: str, *, ros1: bool) -> dict[str, Declared]:
    """Parse a section under its title, or the first one under the type's name."""
    if is_interface_text(name, body):
        return interface_messages(interface_of(name) or name, body)
    try:
        parse = _kept_msg if len(body) <= KEPT_CHARS_MAX else parse_msg
        return {name: parse(name, body, ros1=ros1)}
    except GrammarError as error:
        raise GrammarError(f"{name}: {error}") from error


def _all_idl(bodies: list[str]) -> dict[str, Declared]:
    """Parse IDL files that were put together; those behind are used by those before."""
    types: dict[str, Declared] = {}
    try:
        for body in bodies:
            types |= _idl(body).types
    except UnknownConstantError:
        # A length in one file is a constant of another: they are read in one go.
        constants = Constants()
        for body in reversed(bodies):
            types |= parse_idl(body, constants).types
    return types


def _idl(body: str) -> ParsedText:
    return _kept_idl(body) if len(body) <= KEPT_CHARS_MAX else parse_idl(body)


_kept_msg = lru_cache(maxsize=_SECTIONS_KEPT)(parse_msg)
_kept_idl = lru_cache(maxsize=_SECTIONS_KEPT)(parse_idl)


def _plain(text: str) -> str:
    """Give the text with bare newlines, and without a byte order mark and marks of its end."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").translate(_LINE_ENDS)
