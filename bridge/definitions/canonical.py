"""A tree of types -> its text in one canonical form, and its layout."""

from bridge.definitions.names import DUMMY_MEMBER
from bridge.model import ArrayType, FieldType, MessageType, PrimitiveType, SequenceType

_RULE = "=" * 80
_ROS1_BUILT_IN = {
    "builtin_interfaces/msg/Time": "time",
    "builtin_interfaces/msg/Duration": "duration",
}


def canonical_text(message_type: MessageType, *, ros1: bool = False) -> str:
    """Write a definition: constants, fields, then every type used, in order of first use.

    Comments, blank lines and default values are gone; two texts are equal where the definitions
    mean the same. Bounds are kept.

    Args:
        message_type: The message.
        ros1: Whether times and durations are written as the primitives they are in ROS 1.
    """
    used: dict[str, MessageType] = {}
    _collect(message_type, used, ros1=ros1)
    parts = [_body(message_type, ros1=ros1)]
    parts += [
        f"{_RULE}\nMSG: {_short(name)}\n{_body(message, ros1=ros1)}"
        for name, message in used.items()
    ]
    return "".join(parts)


def _collect(message: MessageType, used: dict[str, MessageType], *, ros1: bool) -> None:
    """Note the messages below one, depth first, each where it is first used."""
    for _, kind in message.fields:
        element = kind.element if isinstance(kind, ArrayType | SequenceType) else kind
        if not isinstance(element, MessageType) or element.name in used:
            continue
        if not (ros1 and element.name in _ROS1_BUILT_IN):
            used[element.name] = element
            _collect(element, used, ros1=ros1)


def _body(message: MessageType, *, ros1: bool) -> str:
    lines = [f"{item.type_name} {item.name}={item.value}" for item in message.constants]
    lines += [
        f"{_written(kind, ros1=ros1)} {name}"
        for name, kind in message.fields
        if name != DUMMY_MEMBER
    ]
    return "".join(f"{line}\n" for line in lines)


def _written(kind: FieldType, *, ros1: bool) -> str:
    if isinstance(kind, PrimitiveType):
        return f"{kind.name}<={kind.bound}" if kind.bound else kind.name
    if isinstance(kind, ArrayType):
        return f"{_written(kind.element, ros1=ros1)}[{kind.length}]"
    if isinstance(kind, SequenceType):
        bound = f"<={kind.bound}" if kind.bound else ""
        return f"{_written(kind.element, ros1=ros1)}[{bound}]"
    if ros1 and kind.name in _ROS1_BUILT_IN:
        return _ROS1_BUILT_IN[kind.name]
    return _short(kind.name)


def _short(name: str) -> str:
    """Write `pkg/Name` for `pkg/msg/Name`."""
    return name.replace("/msg/", "/")


# How these are written and what they become does not differ (ROS 1's byte is signed, but a
# recording does not mix ROS 1 and ROS 2).
_SAME_LAYOUT = {"octet": "byte", "char": "uint8"}


def layout_of(message_type: MessageType) -> tuple[object, ...]:
    """Give what makes messages decode alike: names and types of the fields, and nothing else.

    Two definitions with equal layouts define one topic, whatever else their texts say: constants,
    comments, names of nested types, bounds of strings. Bounds of sequences are checked when
    messages are decoded, so they count.
    """
    return (
        message_type.extensibility,
        *((name, _layout(kind)) for name, kind in message_type.fields),
    )


def _layout(kind: FieldType) -> object:
    if isinstance(kind, PrimitiveType):
        return _SAME_LAYOUT.get(kind.name, kind.name)
    if isinstance(kind, ArrayType):
        return ("array", kind.length, _layout(kind.element))
    if isinstance(kind, SequenceType):
        return ("sequence", kind.bound, _layout(kind.element))
    return layout_of(kind)
