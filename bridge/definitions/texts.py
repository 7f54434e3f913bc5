"""What a definition's text says about other types, and texts for types that come as data.

Parsing here is only deep enough to find the names of other types; the decoder parses for itself.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_typestore

from bridge.definitions.names import PRIMITIVES, normal_msgtype


class Form(StrEnum):
    """The kinds of definition files, by their ending."""

    MSG = "msg"
    IDL = "idl"
    SRV = "srv"
    ACTION = "action"


SEPARATOR = "=" * 80
"""The line between the texts of several types in one definition."""

_FIELD_TYPE = re.compile(r"\s*([A-Za-z][A-Za-z0-9_/]*)(?=[\s\[<])")
_INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([A-Za-z0-9_/]+)\.idl[">]', re.MULTILINE)

# ROS 1 spells these as primitives.
_RENAMED = {
    "time": "builtin_interfaces/msg/Time",
    "duration": "builtin_interfaces/msg/Duration",
    "Header": "std_msgs/msg/Header",
}


def field_type(line: str) -> str:
    """Give the bare type at the start of a line of a `.msg` text; empty where there is none."""
    match = _FIELD_TYPE.match(line)
    return match[1] if match else ""


def qualified(name: str, *, package: str) -> str:
    """Give the full name of a type that is used inside a package; empty for primitives."""
    if name in PRIMITIVES or not name:
        return ""
    if name in _RENAMED:
        return _RENAMED[name]
    return normal_msgtype(name if "/" in name else f"{package}/{name}")


def types_in(text: str, *, package: str) -> list[str]:
    """List the types that a `.msg`, `.srv` or `.action` text of a package uses."""
    names = (qualified(field_type(line), package=package) for line in text.splitlines())
    return list(dict.fromkeys(filter(None, names)))


def includes_of(text: str) -> list[str]:
    """List the types whose files an `.idl` text includes."""
    return _INCLUDE.findall(text)


def idl_as_msg(text: str) -> dict[str, str]:
    """Turn an `.idl` text into `.msg` texts by type name.

    Empty where the text uses what rosbags cannot parse, or what `.msg` cannot say.
    """
    # Preprocessor lines are for the compiler of the IDL; the parser knows none.
    bare = re.sub(r"^[ \t]*#[^\n]*$", "", text, flags=re.MULTILINE)
    try:
        found = get_types_from_idl(bare)
    except (TypesysError, ValueError, LookupError, RecursionError):
        return {}
    return {normal_msgtype(name): _msg_text(*data) for name, data in found.items()}


def stock_text(msgtype: str, *, distro: str) -> str | None:
    """Give the `.msg` text of a distribution's stock type, without the types it uses."""
    data = _stock(distro).get(msgtype)
    return None if data is None else _msg_text(*data)


@cache
def undisputed_text(msgtype: str) -> str | None:
    """Give the `.msg` text of a stock type that has the same fields in every ROS 2 distribution.

    Without the types it uses, which may be disputed. None where distributions differ, or none
    has the type. Constants do not change how messages decode and are the latest.
    """
    versions = [store[msgtype] for store in _ros2_stores() if msgtype in store]
    fields = [fields for _, fields in versions]
    if not versions or any(each != fields[0] for each in fields):
        return None
    return _msg_text(*versions[-1])


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
        if version and name == distro.strip().lower():
            return get_typestore(store).fielddefs
    return {}


def _msg_text(constants: Sequence[tuple[str, str, Any]], fields: Sequence[tuple[str, Any]]) -> str:
    """Write constants and fields, as rosbags describes them, in the form of a `.msg` file."""
    lines = [f"{type_name} {name}={value}" for name, type_name, value in constants]
    lines += [f"{_spelled(description)} {name}" for name, description in fields]
    return "".join(f"{line}\n" for line in lines)


def _spelled(description: Any) -> str:
    """Write a field's type in the form of a `.msg` file."""
    kind, detail = description
    if kind == Nodetype.BASE:
        name, bound = detail
        return f"{name}<={bound}" if bound else str(name)
    if kind == Nodetype.NAME:
        return str(detail).replace("/msg/", "/")
    element, count = detail
    if kind == Nodetype.ARRAY:
        return f"{_spelled(element)}[{count}]"
    return f"{_spelled(element)}[<={count}]" if count else f"{_spelled(element)}[]"
