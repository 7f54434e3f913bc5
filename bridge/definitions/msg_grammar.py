"""The text of a `.msg` file, of ROS 1 or ROS 2 -> one message.

The grammar takes what genmsg and rosidl_adapter take and a little more. What a constant's value
says never decides whether the message can be decoded, so no value is refused.
"""

import re

from bridge.definitions.names import PRIMITIVES, normal_msgtype
from bridge.definitions.syntax import (
    GrammarError,
    ParsedMessage,
    RawArray,
    RawSequence,
    RawType,
    Reference,
    Unreadable,
)
from bridge.model import Constant, PrimitiveType

_LINE = re.compile(
    r"""\s*(?:@(?P<annotation>\w+)(?:\([^)]*\))?\s*)?
    (?P<type>[A-Za-z]\w*(?:/\w+)*)
    (?:<=\s*(?P<bound>\d+))?
    (?P<array>\s*\[\s*(?P<upto><=)?\s*(?P<length>\d*)\s*\])?
    \s+(?P<name>\w+)\s*
    (?:=(?P<value>.*)|(?P<rest>(?<=\s)\S.*|\#.*)?)$""",
    re.VERBOSE,
)
_ANNOTATION = re.compile(r"\s*@(?P<name>\w+)(?:\([^)]*\))?\s*(?:#.*)?$")
_QUOTED = re.compile(r"""(["'])(.*?)\1\s*(?:#.*)?""")
_RULE = re.compile(r"\s*=+\s*")
_BLANK = re.compile(r"\s*(?:#.*)?")

# ROS 1 spells these as primitives; a bare Header is always that of std_msgs.
_RENAMED = {
    "time": "builtin_interfaces/msg/Time",
    "duration": "builtin_interfaces/msg/Duration",
    "Header": "std_msgs/msg/Header",
}
_FLOATS = frozenset({"float32", "float64", "float128"})
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_OFFENCE_CHARS = 100


def parse_msg(name: str, text: str, *, ros1: bool) -> ParsedMessage:
    """Parse the text of one message, without those it uses.

    Args:
        name: The message's full name.
        text: Lines that end with a bare newline.
        ros1: Whether string constants are taken as ROS 1 does: all that follows, quotes included.

    Raises:
        GrammarError: A line is neither a field nor a constant.
    """
    package = name.split("/", maxsplit=1)[0]
    fields: list[tuple[str, RawType]] = []
    constants: list[Constant] = []
    written: list[str] = []
    optional = False
    for line in text.split("\n"):
        found = _LINE.match(line)
        if found is None:
            annotation = _ANNOTATION.match(line)
            if annotation is not None:
                optional |= annotation["name"] == "optional"
            elif not (_BLANK.fullmatch(line) or _RULE.fullmatch(line)):
                raise GrammarError(f"not understood: {line.strip()[:_OFFENCE_CHARS]!r}")
            continue
        if found["value"] is not None and not found["array"]:
            constants.append(_constant(found["name"], found["type"], found["value"], ros1=ros1))
            written.append(_written(found["type"], found["value"]))
            continue
        kind = _field_type(found, package)
        if optional or found["annotation"] == "optional":
            kind = Unreadable(f"optional, and {name} does not say how its presence is written")
        optional = False
        fields.append((found["name"], kind))
    return ParsedMessage(
        name=name, fields=tuple(fields), constants=tuple(constants), written=tuple(written)
    )


def _field_type(found: re.Match[str], package: str) -> RawType:
    name = found["type"]
    element: RawType
    if name in PRIMITIVES:
        element = PrimitiveType(name=name, bound=int(found["bound"] or 0))
    else:
        element = Reference(_candidates(name, package))
    if not found["array"]:
        return element
    length = int(found["length"] or 0)
    if found["upto"] or not found["length"]:
        return RawSequence(element, length)
    return RawArray(element, length)


def _candidates(name: str, package: str) -> tuple[str, ...]:
    """Give the full names that a type's name may mean inside a package."""
    if name in _RENAMED:
        return (_RENAMED[name],)
    short = name.rsplit("/", 1)[-1]
    full = normal_msgtype(name if "/" in name else f"{package}/{name}")
    return tuple(dict.fromkeys((full, f"{package}/msg/{short}")))


def _written(type_name: str, value: str) -> str:
    """Give a constant's value as genmsg hashes it: without a comment, but in strings."""
    return value.strip() if type_name == "string" else value.split("#", 1)[0].strip()


def _constant(name: str, type_name: str, value: str, *, ros1: bool) -> Constant:
    text = _written(type_name, value)
    return Constant(name=name, type_name=type_name, value=_value(type_name, text, ros1=ros1))


def _value(type_name: str, text: str, *, ros1: bool) -> bool | int | float | str:
    """Read a constant's value; text that is none of its type is kept as it is."""
    if type_name in {"string", "wstring"}:
        quoted = None if ros1 else _QUOTED.fullmatch(text)
        return quoted[2] if quoted else text
    if type_name == "bool":
        return _TRUTHS.get(text.lower(), text)
    if type_name in _FLOATS:
        try:
            return float(text)
        except ValueError:
            return text
    for base in (0, 10):  # 0 knows 0x1F and 0b1, but not 007
        try:
            return int(text, base)
        except ValueError:
            continue
    return text
