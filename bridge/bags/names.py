"""Names of message types: their one spelling, and the interfaces that ROS derives types from."""

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
