"""What a recording says about itself besides its messages, and how much of it travels along.

MCAP files can hold metadata records and attachments. Small records go into the sequence's metadata;
of large ones, and of attachments, it has the names and sizes.
"""

import json
from collections.abc import Mapping
from typing import Any

from bridge.bags import ROSBAG2_RECORD
from bridge.units import counted

RECORD_BYTES_MAX = 8 << 10
"""A larger metadata record is named, not carried."""

RECORDS_BYTES_MAX = 64 << 10
"""Records that come after so much of them are named, not carried."""

ATTACHMENTS_MAX = 64
"""Attachments beyond this number are counted, not named."""

CARRIED_KINDS = frozenset({"attachments", "metadata records"})


def carried_metadata(metadata: Mapping[str, object]) -> dict[str, Any]:
    """Give what goes into the sequence's metadata; empty where there is nothing.

    Args:
        metadata: As `RecordingReader.metadata` has it.

    Returns:
        `ros_distro`, `library`, `metadata_records` (entries by name), `metadata_records_omitted`
        (sizes by name), `attachments` (file, name, media type and size of each) and
        `attachments_omitted` (how many more), each only where there is any.
    """
    carried: dict[str, Any] = {
        key: metadata[key] for key in ("ros_distro", "library") if metadata.get(key)
    }
    records, omitted, total_bytes = {}, {}, 0
    found = metadata.get("metadata")
    for name, entries in found.items() if isinstance(found, Mapping) else ():
        size_bytes = len(json.dumps(entries))
        if name == ROSBAG2_RECORD:
            continue
        if size_bytes <= RECORD_BYTES_MAX and total_bytes + size_bytes <= RECORDS_BYTES_MAX:
            records[name] = entries
            total_bytes += size_bytes
        else:
            omitted[name] = size_bytes
    attachments = metadata.get("attachments")
    listed = attachments if isinstance(attachments, list) else []
    carried |= {
        "metadata_records": records,
        "metadata_records_omitted": omitted,
        "attachments": listed[:ATTACHMENTS_MAX],
        "attachments_omitted": len(listed[ATTACHMENTS_MAX:]),
    }
    return {key: value for key, value in carried.items() if value}


def notes_on(extras: Mapping[str, int]) -> list[str]:
    """Say what the files hold besides messages that is not on the platform.

    Args:
        extras: As `ReadTally.extras` counts it.
    """
    notes = [f"{count} {kind}" for kind, count in extras.items() if kind not in CARRIED_KINDS]
    if extras.get("attachments"):
        notes.append(
            f"{counted(extras['attachments'], 'attachment')} in the files only; "
            "the sequence's metadata names them"
        )
    return notes
