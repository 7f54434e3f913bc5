"""Where types are looked for that a recording does not define.

In this order, each type on its own: the configured folders, the folders of `AMENT_PREFIX_PATH`,
the stock types of the distribution that the recording names, or else of the configured one, and
last the stock types that are the same in every distribution. A type that none of them knows, or
on which distributions differ, is not guessed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore

from bridge.definitions.msg_grammar import event_of
from bridge.definitions.names import DUMMY_MEMBER, interface_of, kind_of, normal_msgtype
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
from bridge.definitions.texts import parse_file
from bridge.errors import DefinitionError
from bridge.model import Constant, PrimitiveType

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
_BUILT_IN_ROS1 = {**_BUILT_IN, "std_msgs/msg/Header": (_SEQ, _STAMP, _FRAME_ID)}

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
        types = with_events(found.text.types, msgtype)
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


def with_events(types: Mapping[str, Declared], msgtype: str) -> dict[str, Declared]:
    """Add a service's event to types that hold its request and response."""
    service = msgtype.removesuffix("_Event")
    if service == msgtype or not {f"{service}_Request", f"{service}_Response"} <= types.keys():
        return dict(types)
    return {**event_of(service), **types}


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
        get_typestore(store).fielddefs for store in Stores if store.value.startswith("ros2_")
    )


@cache
def _stock(distro: str) -> Mapping[str, tuple[Any, Any]]:
    """Load the stock types of a distribution; none for distributions that rosbags lacks."""
    for store in Stores:
        _, version, name = store.value.partition("_")
        if version and name == distro:
            return get_typestore(store).fielddefs
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
    if kind == Nodetype.BASE:
        name, bound = detail
        return PrimitiveType(name=name, bound=bound)
    if kind == Nodetype.NAME:
        return Reference((str(detail),))
    element, count = detail
    if kind == Nodetype.ARRAY:
        return RawArray(_raw(element), count)
    return RawSequence(_raw(element), count)
