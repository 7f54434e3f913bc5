"""What the sequence is called and what its metadata says, which can never be changed later."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.bags import Content, RecordingReader, Survey
from bridge.definitions import canonical_text, layout_of
from bridge.ingest.attachments import carried_metadata
from bridge.ingest.marks import Sender, parts_as_metadata
from bridge.ingest.options import IngestOptions
from bridge.ingest.report import TopicReport
from bridge.ingest.salvage import SALVAGED_KEY, salvage_marks
from bridge.mapping import fill_placeholders, read_sidecar, sequence_metadata, sequence_name
from bridge.model import Recording, Split
from bridge.version import __version__

RECORDING_ID_DIGITS = 16
TERMS_DIGITS = 16

FORMAT_VERSION = 1
"""Of the bridge's own block in the metadata; raised when its keys change their meaning."""


def name_of(
    recording: Recording, fingerprint: str, start_ns: int | None, options: IngestOptions
) -> str:
    """Give the sequence's name.

    Args:
        recording: What is ingested.
        fingerprint: Identity of its content.
        start_ns: Record time of its first message; None where there is none.
        options: Holds the template and its fields.

    Raises:
        ConfigError: The template is malformed, or a constant needs an unset variable.
    """
    return sequence_name(
        options.sequence_name,
        stem=recording.name,
        start_ns=start_ns,
        identity=fingerprint,
        hostname=options.hostname,
        constants=_constants(options),
    )


def terms_of(reader: RecordingReader, options: IngestOptions) -> str:
    """Identify what decides how the bytes of a recording become rows.

    That is the version, the settings, and the type that each topic is decoded by, wherever it was
    found: a reload, or a file put into a definition folder, may change it between two tries.

    Returns:
        16 hexadecimal digits; uploads of equal terms may be continued.
    """
    digest = hashlib.sha256(f"{__version__}\0{options.identity.config_hash}".encode())
    # Topics of one type share its value, and hundreds may have one.
    kinds = {id(topic.message_type): topic.message_type for topic in reader.topics}
    told = {
        key: ("", "") if kind is None else (canonical_text(kind), repr(layout_of(kind)))
        for key, kind in kinds.items()
    }
    for topic in reader.topics:
        fields = (topic.name, topic.msgtype, topic.serialization, *told[id(topic.message_type)])
        digest.update("\0".join(fields).encode("utf-8", "surrogateescape") + b"\1")
    return digest.hexdigest()[:TERMS_DIGITS]


def describe(
    reader: RecordingReader,
    content: Content,
    topics: list[TopicReport],
    options: IngestOptions,
    *,
    survey: Survey | None,
    follows: Sequence[str] = (),
) -> dict[str, Any]:
    """Give the sequence's metadata: the user's constants, the recording's own, the bridge's block.

    Args:
        reader: The recording, open.
        content: Its identity and that of its parts.
        topics: What becomes of its topics.
        options: Holds the constants, and the sender.
        survey: What can be had of it, where it is not whole; None for a recording that is.
        follows: Sequences that hold the parts of the recording that were sent before.

    Raises:
        ConfigError: A constant needs an unset variable.
    """
    sender = options.identity
    counts = {
        topic.platform_name: topic.messages_recorded
        for topic in topics
        if topic.platform_name and topic.messages_recorded is not None
    }
    block: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "fingerprint": content.fingerprint,
        "parts": parts_as_metadata(content.names()),
        "instance": sender.instance,
        "sender": Sender.here().as_metadata(),
        "attempt": sender.attempt,
        "version": __version__,
        "config_hash": sender.config_hash,
        "terms": terms_of(reader, options),
        "recording": reader.recording.path.name,
        "files": [file.path.name for file in reader.recording.files],
        "recorded_bytes": reader.recorded_bytes,
        "healthy": reader.healthy,
        # Topic names are no keys that the platform accepts.
        "messages_recorded": [{"topic": name, "messages": count} for name, count in counts.items()],
    }
    block |= _links(reader.recording, options, follows)
    carried = carried_metadata(reader.metadata)
    if carried:
        block["recorded"] = carried
    if survey is not None:
        block[SALVAGED_KEY] = salvage_marks(survey)
    custom_data = reader.metadata.get("custom_data")
    return sequence_metadata(
        constants=_constants(options),
        bridge=block,
        custom_data=custom_data if isinstance(custom_data, Mapping) else None,
        sidecar=read_sidecar(reader.recording.path),
    )


def _links(recording: Recording, options: IngestOptions, follows: Sequence[str]) -> dict[str, Any]:
    """Name what the sequence belongs with: other splits and parts, and what is missing."""
    links: dict[str, Any] = {}
    split = recording.split
    if split is not None:
        links["split"] = {
            "recording": split.recording,
            "recording_id": _recording_id(split, options.hostname),
            **({} if split.index is None else {"index": split.index}),
        }
    if options.supersedes is not None:
        links["supersedes"] = options.supersedes.as_metadata()
    if follows:
        links["follows"] = list(follows)
    if recording.missing:
        missing = recording.missing.items()
        links["missing"] = [{"file": name, "reason": why} for name, why in missing]
    return links


def _recording_id(split: Split, hostname: str) -> str:
    """Identify the recording that a split is part of, alike for all of them: by where it lies."""
    place = f"{hostname}\0{split.folder.absolute()}\0{split.recording}"
    digest = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()
    return digest[:RECORDING_ID_DIGITS]


def _constants(options: IngestOptions) -> dict[str, Any]:
    return fill_placeholders(
        options.metadata, environment=options.environment, hostname=options.hostname
    )
