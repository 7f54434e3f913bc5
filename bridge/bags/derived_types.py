"""Message types that ROS derives from services and actions, built from the interface's own text.

A service `pkg/srv/X` has a text of two sections divided by `---`, an action one of three. The
messages recorded on their hidden topics have types that no file defines: ROS generates them. The
layouts are those of rosidl: https://docs.ros.org/en/jazzy/p/service_msgs/ and
https://design.ros2.org/articles/actions.html.
"""

import re

from bridge.bags.definition_text import field_type, qualified
from bridge.model import Definition

SEPARATOR = "=" * 80
"""The line between the texts of several types in one definition."""

_SERVICE_EVENT_INFO = """\
uint8 REQUEST_SENT=0
uint8 REQUEST_RECEIVED=1
uint8 RESPONSE_SENT=2
uint8 RESPONSE_RECEIVED=3
uint8 event_type
builtin_interfaces/Time stamp
char[16] client_gid
int64 sequence_number
"""

_STOCK = {
    "service_msgs/ServiceEventInfo": _SERVICE_EVENT_INFO,
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
    "unique_identifier_msgs/UUID": "uint8[16] uuid\n",
}

_EVENT = """\
service_msgs/ServiceEventInfo info
{name}_Request[<=1] request
{name}_Response[<=1] response
"""

# The hidden services of an action, in terms of its goal and result.
_SEND_GOAL = {
    "_SendGoal_Request": "unique_identifier_msgs/UUID goal_id\n{name}_Goal goal\n",
    "_SendGoal_Response": "bool accepted\nbuiltin_interfaces/Time stamp\n",
}
_GET_RESULT = {
    "_GetResult_Request": "unique_identifier_msgs/UUID goal_id\n",
    "_GetResult_Response": "int8 status\n{name}_Result result\n",
}
_FEEDBACK = "unique_identifier_msgs/UUID goal_id\n{name}_Feedback feedback\n"

# Longest first: the first that fits is the right one.
_SUFFIXES = {
    "srv": ("_Event",),
    "action": ("_SendGoal_Event", "_GetResult_Event", "_FeedbackMessage"),
}

# A type without fields still takes a byte on the wire, and rosidl names it so.
_PLACEHOLDER = "uint8 structure_needs_at_least_one_member"

_CONSTANT = re.compile(r"\s*[A-Za-z0-9<=]+\s+[A-Za-z][A-Za-z0-9_]*\s*=")


def interface_of(msgtype: str) -> str:
    """Name the service or action that a message type is derived from; empty for other types.

    `pkg/srv/X_Event` belongs to `pkg/srv/X`, `pkg/action/X_FeedbackMessage` to `pkg/action/X`.
    """
    kind = msgtype.split("/")[1] if msgtype.count("/") == 2 else ""  # noqa: PLR2004 (pkg/kind/Name)
    for suffix in _SUFFIXES.get(kind, ()):
        if msgtype.endswith(suffix):
            return msgtype.removesuffix(suffix)
    return ""


def service_event_definition(
    msgtype: str, text: str, *, source: str = "embedded"
) -> Definition | None:
    """Build the definition of a derived message type out of its service's or action's text.

    Args:
        msgtype: `pkg/srv/X_Event`, or `pkg/action/X_FeedbackMessage`, `pkg/action/X_SendGoal_Event`
            or `pkg/action/X_GetResult_Event`.
        text: The `.srv` or `.action` text, sections divided by `---`, followed by the types it
            uses in the usual form (80 times `=`, `MSG: pkg/Name`).
        source: Where the text came from.

    Returns:
        A definition in `ros2msg` form with everything it uses, or None where the type is not a
        derived one or the text has not the sections it needs (an IDL text, for example).
    """
    name = interface_of(msgtype)
    own, *dependencies = split_definition(text)
    sections = _sections(own[1], package=msgtype.split("/", maxsplit=1)[0])
    if not name or len(sections) != {"srv": 2, "action": 3}[name.split("/")[1]]:
        return None
    parts = _parts(msgtype, name, sections)
    used = dict(dependencies)
    for stock, stock_text in _STOCK.items():
        used.setdefault(stock, stock_text)
    pieces = [parts.pop(msgtype)]
    pieces += [f"MSG: {part}\n{part_text}" for part, part_text in (parts | used).items()]
    return Definition(
        encoding="ros2msg", text=f"{SEPARATOR}\n".join(map(_line_ended, pieces)), source=source
    )


def split_definition(text: str) -> list[tuple[str, str]]:
    """Split a definition into (type name, text) pairs; the first has no name."""
    own, *others = re.split(r"^={80}\s*\n", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    pairs = [("", own)]
    for other in others:
        head, _, body = other.partition("\n")
        pairs.append((head.partition(":")[2].strip(), body))
    return pairs


def _parts(msgtype: str, name: str, sections: list[str]) -> dict[str, str]:
    """Give the texts of the wanted type and of those that ROS generates for it."""
    if name.split("/")[1] == "srv":
        request, response = sections
        return {
            msgtype: _EVENT.format(name=name),
            f"{name}_Request": request,
            f"{name}_Response": response,
        }
    goal, result, feedback = sections
    if msgtype.endswith("_FeedbackMessage"):
        return {msgtype: _FEEDBACK.format(name=name), f"{name}_Feedback": feedback}
    event = _EVENT.format(name=msgtype.removesuffix("_Event"))
    if msgtype.endswith("_SendGoal_Event"):
        services, content = _SEND_GOAL, {f"{name}_Goal": goal}
    else:
        services, content = _GET_RESULT, {f"{name}_Result": result}
    generated = {f"{name}{ending}": body.format(name=name) for ending, body in services.items()}
    return {msgtype: event} | generated | content


def _sections(text: str, *, package: str) -> list[str]:
    """Cut a text at its `---` lines and give every type in it the name of its package."""
    sections: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() == "---":
            sections.append([])
        else:
            sections[-1].append(_qualified(line, package=package))
    return [
        "\n".join(lines if _has_fields(lines) else [*lines, _PLACEHOLDER]) for lines in sections
    ]


def _has_fields(lines: list[str]) -> bool:
    """Tell whether any line is neither empty, a comment nor a constant."""
    bare = (line.partition("#")[0] for line in lines)
    return any(line.strip() and not _CONSTANT.match(line) for line in bare)


def _qualified(line: str, *, package: str) -> str:
    """Put the package before a type of the same package; a generated type's text needs it."""
    name = field_type(line)
    full = qualified(name, package=package).replace("/msg/", "/")
    return line.replace(name, full, 1) if full else line


def _line_ended(text: str) -> str:
    return f"{text.rstrip()}\n" if text.strip() else "\n"
