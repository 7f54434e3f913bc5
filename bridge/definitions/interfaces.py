"""The text of a `.srv` or `.action` file -> the messages that services and actions really send.

Recorders store the text of the interface file under the name of a message derived from it. The
derived messages are fixed by ROS 2 (rosidl): service events wrap the request and the response,
each in a sequence of none or one; actions are three services and a feedback message around the
three parts of the file.
"""

import re
from collections.abc import Mapping

from bridge.definitions.msg_grammar import parse_msg
from bridge.definitions.names import interface_of, kind_of
from bridge.definitions.syntax import Declared, ParsedMessage

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

INTERFACE_PARTS: Mapping[str, ParsedMessage] = {
    name: parse_msg(name, text, ros1=False)
    for name, text in {
        "service_msgs/msg/ServiceEventInfo": _EVENT_INFO,
        "unique_identifier_msgs/msg/UUID": "uint8[16] uuid\n",
    }.items()
}
"""What derived messages use although no interface file mentions it."""

_SERVICE_TEXTS = len(("request", "response"))
_ACTION_TEXTS = len(("goal", "result", "feedback"))


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
