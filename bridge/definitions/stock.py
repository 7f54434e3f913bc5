"""The types that come with ROS, by distribution, as rosbags knows them."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore

from bridge.definitions.names import DUMMY_MEMBER
from bridge.definitions.syntax import (
    ParsedMessage,
    RawArray,
    RawSequence,
    RawType,
    Reference,
)
from bridge.model import Constant, PrimitiveType

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
