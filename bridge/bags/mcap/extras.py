"""What an MCAP file holds besides messages: profile and library, metadata records, attachments.

Small things are kept, so that they can travel with the recording; large ones are named and counted.
"""

from dataclasses import dataclass, field

from bridge.bags.mcap.records import (
    HEAD_BYTES,
    MAGIC,
    Fields,
    Opcode,
    parse_attachment_head,
    parse_head,
    parse_metadata,
)
from bridge.bags.source import Source
from bridge.errors import DamagedRecordingError

METADATA_BYTES_MAX = 64 << 10
"""Larger metadata records are counted, not kept."""

RECORDS_KEPT_MAX = 256
"""More metadata records or attachments than this are counted, not kept."""

HEADER_BYTES_MAX = 4096


@dataclass(slots=True, kw_only=True)
class Extras:
    """What was found besides messages.

    Attributes:
        profile: `ros2`, `ros1`, another, or empty.
        library: What wrote the file.
        metadata: The entries of metadata records by their names; the last of a name counts.
        attachments: Name, media type and size of each attachment.
    """

    profile: str = ""
    library: str = ""
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    attachments: list[dict[str, object]] = field(default_factory=list)

    def as_metadata(self) -> dict[str, object]:
        """Give everything under the names that recordings use for it."""
        return {
            "profile": self.profile,
            "library": self.library,
            "metadata": dict(self.metadata),
            "attachments": list(self.attachments),
        }


def read_header(source: Source, extras: Extras) -> None:
    """Take profile and library from the file's first record; a damaged one leaves them empty."""
    raw = source.read_at(len(MAGIC), HEADER_BYTES_MAX)
    if len(raw) < HEAD_BYTES:
        return
    opcode, length = parse_head(raw)
    if opcode != Opcode.HEADER:
        return
    fields = Fields(raw[HEAD_BYTES : HEAD_BYTES + length])
    try:
        extras.profile = fields.text()
        extras.library = fields.text()
    except DamagedRecordingError:
        return


def keep_record(source: Source, start: int, extras: Extras) -> None:
    """Keep what is small of the metadata record or attachment at a position; ignore others."""
    head = source.read_at(start, HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return
    opcode, length = parse_head(head)
    content = source.read_at(start + HEAD_BYTES, min(length, METADATA_BYTES_MAX))
    try:
        if opcode == Opcode.METADATA and length <= METADATA_BYTES_MAX:
            name, entries = parse_metadata(content)
            if name in extras.metadata or len(extras.metadata) < RECORDS_KEPT_MAX:
                extras.metadata[name] = entries
        elif opcode == Opcode.ATTACHMENT and len(extras.attachments) < RECORDS_KEPT_MAX:
            name, media_type, size_bytes = parse_attachment_head(content)
            extras.attachments.append(
                {"name": name, "media_type": media_type, "size_bytes": size_bytes}
            )
    except DamagedRecordingError:
        return
