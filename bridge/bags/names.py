"""Names of message types: one spelling, and the interfaces that rosbag2 derives types from."""

INTERFACE_KINDS = frozenset({"msg", "srv", "action"})

# What ROS appends to the name of a service or action to name the messages of its topics.
DERIVED_SUFFIXES = (
    "_SendGoal_Event",
    "_GetResult_Event",
    "_FeedbackMessage",
    "_Event",
)


def normal_msgtype(name: str) -> str:
    """Spell a type name as `pkg/msg/Name`: ROS 1 names lack the middle, IDL names use `::`."""
    parts = name.replace("::", "/").split("/")
    if len(parts) == 2:  # noqa: PLR2004 (pkg/Name)
        parts.insert(1, "msg")
    return "/".join(part for part in parts if part)


def interface_of(msgtype: str) -> str:
    """Name the service or action that a derived message type belongs to; empty for others.

    `pkg/srv/X_Event` belongs to `pkg/srv/X`, `pkg/action/X_FeedbackMessage` to `pkg/action/X`.
    """
    if "/srv/" in msgtype or "/action/" in msgtype:
        for suffix in DERIVED_SUFFIXES:
            if msgtype.endswith(suffix):
                return msgtype.removesuffix(suffix)
    return ""
