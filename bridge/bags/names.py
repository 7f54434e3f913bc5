"""Names of message types in their one spelling, `pkg/msg/Name`."""


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
