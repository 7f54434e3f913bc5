"""What a topic's metadata on the platform says about where its rows come from."""

from collections.abc import Mapping
from typing import Any

from bridge.mapping.metadata_keys import Renamed, clean_keys
from bridge.model import MessageType, Topic

ROS_BLOCK = "_ros_"
"""The platform's reserved key for what the ROS side knew; readers rebuild messages from it."""


def topic_metadata(
    topic: Topic,
    message_type: MessageType,
    *,
    msgdef: str,
    source_file: str,
    mapping: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Assemble the user metadata of a topic.

    Args:
        topic: The topic as recorded.
        message_type: Its parsed definition; the constants of its top level become `enums`.
        msgdef: The canonical text of the definition.
        source_file: Name of the file or folder it comes from.
        mapping: How it was mapped: `kind`, and whatever a reader needs to undo it.
        extra: The user's own metadata for this topic; a `_ros_` among it gives way.
    """
    block: dict[str, Any] = {
        "msgtype": message_type.name,
        "enums": {constant.name: constant.value for constant in message_type.constants},
        "msgdef": msgdef,
        "source_file": source_file,
        "topic": topic.name,
        "message_encoding": topic.serialization.value,
        "definition_source": "" if topic.definition is None else topic.definition.source,
        "type_hash": topic.type_hash,
        "qos": topic.qos,
        "mapping": dict(mapping),
    }
    renamed: Renamed
    cleaned, renamed = clean_keys({**extra, ROS_BLOCK: block})
    if renamed:
        cleaned[ROS_BLOCK]["renamed_keys"] = renamed
    return cleaned
