"""Names of types: primitives, the one spelling of message types, what ROS derives types from."""

from functools import lru_cache

# fmt: off
NUMBERS = frozenset({
    "bool", "byte", "char", "octet", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
    "uint64", "float32", "float64", "float128",
})
"""The primitives of fixed size, whatever wrote them."""
# fmt: on

STRINGS = frozenset({"string", "wstring"})
"""The primitives of variable size; `wchar` is fixed, but its size depends on the middleware."""

WIDE = frozenset({"wstring", "wchar"})
"""The primitives whose layout depends on the middleware that wrote them."""

PRIMITIVES = NUMBERS | STRINGS | WIDE

_KINDS = frozenset({"msg", "srv", "action"})
_NAME_PARTS = 3  # pkg/kind/Name

# What ROS puts behind the name of a service or an action to name the messages it makes of it.
_SERVICE_PARTS = ("_Event", "_Request", "_Response")
_ACTION_PARTS = ("_SendGoal", "_GetResult", "_FeedbackMessage", "_Goal", "_Result", "_Feedback")


@lru_cache(maxsize=1024)
def normal_msgtype(name: str) -> str:
    """Spell a type name as `pkg/msg/Name`.

    ROS 1 leaves the middle out, IDL writes `::`, DDS adds `dds_` and a final underscore, DDS
    recorders put their own name in front, rosbags writes `pkg/srv/msg/Name`; services and actions
    keep their own middle. A name that fits none of this stays as it is.
    """
    parts = [part for part in name.strip().replace("::", "/").split("/") if part]
    if "dds_" in parts[:-1]:
        parts.remove("dds_")
        parts[-1] = parts[-1].removesuffix("_")
    if len(parts) == _NAME_PARTS - 1:
        parts.insert(1, "msg")
    elif len(parts) > _NAME_PARTS and parts[-2] in _KINDS:
        if parts[-2] == "msg" and parts[-3] in _KINDS:
            del parts[-2]
        parts = parts[-_NAME_PARTS:]
    return "/".join(parts)


def interface_of(msgtype: str) -> str:
    """Name the service or action that a message type is derived from; empty for other types.

    `pkg/srv/X_Event` belongs to `pkg/srv/X`, `pkg/action/X_FeedbackMessage` to `pkg/action/X`.
    """
    kind = msgtype.split("/")[1] if msgtype.count("/") == _NAME_PARTS - 1 else ""
    if kind == "srv":
        return _without(msgtype, _SERVICE_PARTS)
    if kind == "action":
        return _without(_without(msgtype, _SERVICE_PARTS) or msgtype, _ACTION_PARTS)
    return ""


def _without(name: str, endings: tuple[str, ...]) -> str:
    """Take one of the endings off; empty where there is none."""
    for ending in endings:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return ""


def kind_of(name: str) -> str:
    """Give the middle of `pkg/kind/Name`; empty for other names."""
    parts = name.split("/")
    return parts[1] if len(parts) == _NAME_PARTS else ""


def missing_definition_hint(msgtype: str) -> str:
    """Say what an operator can do about a type that nobody defines."""
    name = interface_of(normal_msgtype(msgtype)) or normal_msgtype(msgtype)
    package, _, _ = name.partition("/")
    kind = kind_of(name) or "msg"
    return (
        f"the recording does not carry it: put the package {package!r}"
        f" (its files {package}/{kind}/*.{kind}, and what they use) into a folder and name that"
        " folder in definitions.folders, or name the ROS distribution in definitions.distro"
    )
