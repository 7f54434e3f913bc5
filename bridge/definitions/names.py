"""Names of types: primitives, the one spelling of message types, what ROS derives types from."""

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

DUMMY_MEMBER = "structure_needs_at_least_one_member"
"""What ROS 2 puts into a message that declares no field, because IDL forbids empty structs."""

# What ROS puts behind the name of a service or an action to name the messages of its hidden topics.
_DERIVED = {
    "srv": ("_Event",),
    "action": ("_SendGoal_Event", "_GetResult_Event", "_FeedbackMessage"),
}


def normal_msgtype(name: str) -> str:
    """Spell a type name as `pkg/msg/Name`.

    ROS 1 leaves the middle out, IDL writes `::`, DDS adds `dds_` and a final underscore; services
    and actions keep their own middle. A name that fits none of this stays as it is.
    """
    parts = name.replace("::", "/").split("/")
    if "dds_" in parts:
        parts.remove("dds_")
        parts[-1] = parts[-1].removesuffix("_")
    if len(parts) == 2 and all(parts):  # noqa: PLR2004 (pkg/Name)
        parts.insert(1, "msg")
    return "/".join(parts)


def interface_of(msgtype: str) -> str:
    """Name the service or action that a message type is derived from; empty for other types.

    `pkg/srv/X_Event` belongs to `pkg/srv/X`, `pkg/action/X_FeedbackMessage` to `pkg/action/X`.
    """
    kind = msgtype.split("/")[1] if msgtype.count("/") == 2 else ""  # noqa: PLR2004 (pkg/kind/Name)
    for ending in _DERIVED.get(kind, ()):
        if msgtype.endswith(ending):
            return msgtype.removesuffix(ending)
    return ""
