"""The text of a `.msg`, `.srv` or `.action` file -> the messages that it defines.

The grammar takes what genmsg and rosidl_adapter take and a little more. What a constant's value
says never decides whether the message can be decoded, so no value is refused.

Recorders store the text of a service or an action under the name of a message derived from it. The
derived messages are fixed by ROS 2 (rosidl): service events wrap the request and the response, each
in a sequence of none or one; actions are three services and a feedback message around the three
parts of the file.
"""

import re
from collections.abc import Mapping

from bridge.definitions.names import PRIMITIVES, interface_of, kind_of, normal_msgtype
from bridge.definitions.syntax import (
    Declared,
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
    r"""\s*(?:@(?P<annotation>\w+)(?:\s*\((?:"[^"]*"|[^)"])*\))?\s*)?
    (?P<type>[A-Za-z]\w*(?:/\w+)*)
    (?:<=\s*(?P<bound>\d+))?
    (?P<array>\s*\[\s*(?P<upto><=)?\s*(?P<length>\d*)\s*\])?
    \s+(?P<name>\w+)\s*
    (?:=(?P<value>.*)|(?P<rest>(?<=\s)\S.*|\#.*)?)$""",
    re.VERBOSE,
)
_ANNOTATION = re.compile(r'\s*@(?P<name>\w+)(?:\s*\((?:"[^"]*"|[^)"])*\))?\s*(?:#.*)?$')
_QUOTED = re.compile(r"""(["'])(.*?)\1\s*(?:#.*)?""")
_RULE = re.compile(r"\s*=+\s*")
_BLANK = re.compile(r"\s*(?:#.*)?")

# ROS 1 spells these as primitives; there a bare Header is always that of std_msgs.
_RENAMED = {
    "time": "builtin_interfaces/msg/Time",
    "duration": "builtin_interfaces/msg/Duration",
    "Header": "std_msgs/msg/Header",
}
_FLOATS = frozenset({"float32", "float64", "float128"})
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_OFFENCE_CHARS = 100

_DIVIDER = re.compile(r"^---[ \t]*(?:#[^\n]*)?$\n?", re.MULTILINE)

_EVENT = """\
service_msgs/ServiceEventInfo info
{service}_Request[<=1] request
{service}_Response[<=1] response
"""

_EVENT_INFO = """\
uint8 REQUEST_SENT=0
uint8 REQUEST_RECEIVED=1
uint8 RESPONSE_SENT=2
uint8 RESPONSE_RECEIVED=3
uint8 event_type
builtin_interfaces/Time stamp
uint8[16] client_gid
int64 sequence_number
"""
_SERVICE_TEXTS = len(("request", "response"))
_ACTION_TEXTS = len(("goal", "result", "feedback"))


def parse_msg(name: str, text: str, *, ros1: bool) -> ParsedMessage:
    """Parse the text of one message, without those it uses.

    Args:
        name: The message's full name.
        text: Lines that end with a bare newline.
        ros1: Whether string constants are taken as ROS 1 does: all that follows, quotes included.

    Raises:
        GrammarError: A line is neither a field nor a constant.
    """
    package = name.split("/", maxsplit=1)[0] if "/" in name else ""
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
        kind = _field_type(found, package, ros1=ros1)
        if optional or found["annotation"] == "optional":
            kind = Unreadable(f"optional, and {name} does not say how its presence is written")
        optional = False
        fields.append((found["name"], kind))
    return ParsedMessage(
        name=name, fields=tuple(fields), constants=tuple(constants), written=tuple(written)
    )


def _field_type(found: re.Match[str], package: str, *, ros1: bool) -> RawType:
    name = found["type"]
    element: RawType
    if name in PRIMITIVES:
        element = PrimitiveType(name=name, bound=int(found["bound"] or 0))
    else:
        element = Reference(_candidates(name, package, ros1=ros1))
    if not found["array"]:
        return element
    length = int(found["length"] or 0)
    if found["upto"] or not found["length"]:
        return RawSequence(element, length)
    return RawArray(element, length)


def _candidates(name: str, package: str, *, ros1: bool) -> tuple[str, ...]:
    """Give the full names that a type's name may mean inside a package."""
    if name == "Header" and not ros1:
        # ROS 2 has no rule for it: a package's own goes first.
        return tuple(dict.fromkeys((f"{package}/msg/Header", _RENAMED[name])))
    if name in _RENAMED:
        return (_RENAMED[name],)
    short = name.rsplit("/", 1)[-1]
    full = normal_msgtype(name if "/" in name or not package else f"{package}/{name}")
    # Other recorders leave packages out, in titles or everywhere.
    return tuple(dict.fromkeys((full, f"{package}/msg/{short}" if package else short, short)))


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


INTERFACE_PARTS: Mapping[str, ParsedMessage] = {
    name: parse_msg(name, text, ros1=False)
    for name, text in {
        "service_msgs/msg/ServiceEventInfo": _EVENT_INFO,
        "unique_identifier_msgs/msg/UUID": "uint8[16] uuid\n",
    }.items()
}
"""What derived messages use although no interface file mentions it."""


def is_interface_text(name: str, text: str) -> bool:
    """Tell whether a text under a message's name is that of the service or action behind it."""
    parts = len(_DIVIDER.split(text))
    expected = {"srv": _SERVICE_TEXTS, "action": _ACTION_TEXTS}
    return parts > 1 and parts == expected.get(kind_of(interface_of(name) or name))


def interface_messages(interface: str, text: str) -> dict[str, Declared]:
    """Give the messages derived from an interface file.

    Args:
        interface: `pkg/srv/Name` or `pkg/action/Name`.
        text: The file, without the types it uses.

    Returns:
        The messages by name; empty where the text has not as many parts as its kind wants.

    Raises:
        GrammarError: A part of the text cannot be understood.
    """
    parts = _DIVIDER.split(text)
    if kind_of(interface) == "srv" and len(parts) == _SERVICE_TEXTS:
        texts = _service(interface, *parts)
    elif kind_of(interface) == "action" and len(parts) == _ACTION_TEXTS:
        texts = _action(interface, *parts)
    else:
        return {}
    found: dict[str, Declared] = dict(INTERFACE_PARTS)
    found |= {name: parse_msg(name, part, ros1=False) for name, part in texts.items()}
    return found


def event_of(service: str) -> dict[str, Declared]:
    """Give the event of a service whose request and response are defined elsewhere."""
    name = f"{service}_Event"
    event = parse_msg(name, _EVENT.format(service=service), ros1=False)
    return {name: event, **INTERFACE_PARTS}


def _service(service: str, request: str, response: str) -> dict[str, str]:
    return {
        f"{service}_Event": _EVENT.format(service=service),
        f"{service}_Request": request,
        f"{service}_Response": response,
    }


def _action(action: str, goal: str, result: str, feedback: str) -> dict[str, str]:
    identifier = "unique_identifier_msgs/UUID goal_id\n"
    return {
        f"{action}_Goal": goal,
        f"{action}_Result": result,
        f"{action}_Feedback": feedback,
        f"{action}_FeedbackMessage": f"{identifier}{action}_Feedback feedback\n",
        **_service(
            f"{action}_SendGoal",
            f"{identifier}{action}_Goal goal\n",
            "bool accepted\nbuiltin_interfaces/Time stamp\n",
        ),
        **_service(f"{action}_GetResult", identifier, f"int8 status\n{action}_Result result\n"),
    }
