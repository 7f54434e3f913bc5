"""Raw `.srv` and `.action` text -> the messages that services and actions really send.

Recorders store the text of the interface file under the name of a message derived from it, which
no message parser understands. The derived messages are fixed by ROS 2 (rosidl): service events
wrap the request and the response, each in a sequence of none or one; actions are three services
and a feedback message around the three parts of the file.
"""

import re

_PART = re.compile(r"^---[ \t]*$\n?", re.MULTILINE)

_EVENT = """\
service_msgs/ServiceEventInfo info
{service}_Request[<=1] request
{service}_Response[<=1] response
"""

INTERFACE_PARTS: dict[str, str] = {
    "service_msgs/msg/ServiceEventInfo": """\
uint8 REQUEST_SENT=0
uint8 REQUEST_RECEIVED=1
uint8 RESPONSE_SENT=2
uint8 RESPONSE_RECEIVED=3
uint8 event_type
builtin_interfaces/Time stamp
uint8[16] client_gid
int64 sequence_number
""",
    "unique_identifier_msgs/msg/UUID": "uint8[16] uuid\n",
}
"""What derived messages use although no interface file mentions it."""


def derived_messages(name: str, text: str) -> dict[str, str]:
    """Write out the messages derived from an interface file.

    Args:
        name: The message type wanted, as `pkg/srv/Name_Event` or `pkg/action/Name_...`.
        text: The interface file, without the types it uses.

    Returns:
        Definition text by message type; empty where the text is no interface file, or the type
        none that is derived from one.
    """
    parts = _PART.split(text)
    if "/srv/" in name and len(parts) == len(("request", "response")):
        return _service(_stem(name, ("_Event", "_Request", "_Response")), *parts)
    if "/action/" in name and len(parts) == len(("goal", "result", "feedback")):
        endings = ("_SendGoal", "_GetResult", "_FeedbackMessage", "_Goal", "_Result", "_Feedback")
        stem = _stem(_stem(name, ("_Event", "_Request", "_Response")), endings)
        return _action(stem, *parts)
    return {}


def _stem(name: str, endings: tuple[str, ...]) -> str:
    """Give the name of the interface that a derived name was made from."""
    for ending in endings:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def _service(service: str, request: str, response: str) -> dict[str, str]:
    return {
        f"{service}_Event": _EVENT.format(service=service),
        f"{service}_Request": request,
        f"{service}_Response": response,
        **INTERFACE_PARTS,
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
