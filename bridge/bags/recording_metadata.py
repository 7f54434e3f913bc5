"""What a recording says about itself besides its messages: its files and `metadata.yaml`."""

from collections.abc import Iterable, Mapping
from typing import Any

ATTACHMENTS_MAX = 256
"""More attachments than this are not listed."""

ROSBAG2_RECORD = "rosbag2"
"""The name of the MCAP metadata record in which rosbag2 speaks of itself."""


def distro_of(hints: Mapping[str, Any], metadata: Mapping[str, object]) -> str:
    """Name the ROS distribution of one storage file, or give an empty text.

    Args:
        hints: What `metadata.yaml` says.
        metadata: What the storage file says, as its reader gives it.
    """
    for value in (metadata.get("ros_distro"), _record(metadata).get("ROS_DISTRO")):
        if isinstance(value, str) and value:
            return value
    for text in _embedded_documents(metadata):
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key == "ros_distro" and value.strip():
                return value.strip().strip("'\"")
    named = hints.get("ros_distro")
    return named if isinstance(named, str) else ""


def merged_metadata(
    hints: Mapping[str, Any], files: Iterable[tuple[str, Mapping[str, object]]]
) -> dict[str, object]:
    """Put together what the files and `metadata.yaml` say; what the first file says counts.

    Args:
        hints: What `metadata.yaml` says.
        files: Name and metadata of each storage file, in order.

    Returns:
        `ros_distro`, `custom_data` (from `metadata.yaml`), `attachments` (file, name, media type
        and size of each) and whatever else the containers hold, all only where there is any.
    """
    merged: dict[str, object] = {}
    attachments: list[object] = []
    for name, metadata in files:
        for key, value in metadata.items():
            if key == "attachments" and isinstance(value, list):
                attachments.extend({"file": name, **attachment} for attachment in value)
            elif value and key not in merged:
                merged[key] = value
        if "ros_distro" not in merged and (distro := distro_of(hints, metadata)):
            merged["ros_distro"] = distro
    custom_data = hints.get("custom_data")
    if isinstance(custom_data, dict) and custom_data:
        merged["custom_data"] = custom_data
    if attachments:
        merged["attachments"] = attachments[:ATTACHMENTS_MAX]
    return merged


def _record(metadata: Mapping[str, object]) -> Mapping[str, str]:
    records = metadata.get("metadata")
    record = records.get(ROSBAG2_RECORD) if isinstance(records, dict) else None
    return record if isinstance(record, dict) else {}


def _embedded_documents(metadata: Mapping[str, object]) -> Iterable[str]:
    """Give the copies of `metadata.yaml` that rosbag2 keeps in the storage file itself."""
    serialized = _record(metadata).get("serialized_metadata")
    if serialized:
        yield serialized
    notes = metadata.get("rosbag2")
    if isinstance(notes, str):
        yield notes
    elif isinstance(notes, list | tuple):
        yield from (note for note in notes if isinstance(note, str))
