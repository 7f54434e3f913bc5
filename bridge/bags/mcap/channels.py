"""Which channel a message of an MCAP file belongs to, also where an id is declared twice.

An id should mean one thing in a file. Where it is declared again with another topic, schema or
encoding, it becomes another channel from there on, and nothing is put under the wrong topic.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import Channel, ReadLimits
from bridge.bags.mcap.records import ChannelRecord, Schema
from bridge.definitions import (
    IDL_ENCODINGS,
    MSG_ENCODINGS,
    UNDEFINED_ENCODINGS,
    embedded_definition,
    normal_msgtype,
)
from bridge.errors import RecordingLimitError
from bridge.model import Serialization

UNKNOWN = -1
"""In `ChannelTable.current`: no channel record was ever seen for this id."""

REDECLARED = -2
"""In `ChannelTable.current`: the id was declared again after the channels were final."""

DEFINITION_ENCODINGS = MSG_ENCODINGS | IDL_ENCODINGS
"""The schema encodings whose text can be parsed."""

SERIALIZATIONS = {"cdr": Serialization.CDR, "ros1": Serialization.ROS1}
"""The message encodings that can be decoded."""


class ChannelTable:
    """The channels of one file: first collected, then final.

    Attributes:
        channels: The channels in order of their first declaration; complete after `finish`.
        current: int32, shape (65536,): for each channel id the index of the channel it means at
            the place that was reached, or `UNKNOWN` or `REDECLARED`.
    """

    def __init__(self, *, limits: ReadLimits, types: Mapping[str, str] | None = None) -> None:
        """Start empty; `types` has those of topics whose channels have no schema."""
        self.channels: tuple[Channel, ...] = ()
        self.current: NDArray[np.int32] = np.full(1 << 16, UNKNOWN, dtype=np.int32)
        self._limits = limits
        self._types = types or {}
        self._schemas: dict[int, Schema] = {}
        self._records: list[ChannelRecord] = []
        self._record_schemas: list[Schema | None] = []
        self._meanings: dict[tuple[object, ...], int] = {}
        self._final = False

    @property
    def known(self) -> NDArray[np.bool_]:
        """bool, shape (65536,): which channel ids mean a channel or did so."""
        return np.not_equal(self.current, UNKNOWN)

    def __len__(self) -> int:
        return len(self._records)

    def declare_schema(self, schema: Schema) -> None:
        """Take note of a schema record."""
        self._schemas[schema.id] = schema

    def meaning(self, record: ChannelRecord) -> int:
        """Tell which channel a record stands for; before `finish` a new one becomes a channel.

        Raises:
            RecordingLimitError: There are more channels, or longer definitions, than allowed.
        """
        schema = self._schemas.get(record.schema_id)
        key = _key(record, schema)
        if key in self._meanings:
            return self._meanings[key]
        if self._final:
            return REDECLARED
        if len(self._records) >= self._limits.channels_max:
            raise RecordingLimitError(
                f"the file declares more than {self._limits.channels_max} channels "
                "(reading.channels_max)"
            )
        if schema is not None and len(schema.data) > self._limits.definition_bytes_max:
            raise RecordingLimitError(
                f"the definition of {schema.name!r} is longer than "
                f"{self._limits.definition_bytes_max} bytes (reading.definition_bytes_max)"
            )
        self._records.append(record)
        self._record_schemas.append(schema)
        self._meanings[key] = len(self._records) - 1
        return len(self._records) - 1

    def declare_channel(self, record: ChannelRecord) -> None:
        """Take note of a channel record: from here on its id means this channel."""
        self.current[record.id] = self.meaning(record)

    def finish(self, counts: Mapping[int, int] | None) -> None:
        """Make the channels final and go back to what ids mean at the start of the file.

        Args:
            counts: Messages by channel id where the file's statistics give them, else None.
        """
        times_declared = Counter(record.id for record in self._records)
        channels = []
        self.current[:] = UNKNOWN
        for index, record in enumerate(self._records):
            schema = self._record_schemas[index]
            if schema is None and record.schema_id in self._schemas:
                # The schema came after its channel; from the start on, both are known now.
                schema = self._schemas[record.schema_id]
                self._meanings.setdefault(_key(record, schema), index)
            count = None
            if counts is not None and times_declared[record.id] == 1:
                count = counts.get(record.id, 0)
            told = self._types.get(record.topic, "") if schema is None else schema.name
            channels.append(_channel(index, record, schema, count, told))
            if self.current[record.id] == UNKNOWN:
                self.current[record.id] = index
        self.channels = tuple(channels)
        self._final = True


def _key(record: ChannelRecord, schema: Schema | None) -> tuple[object, ...]:
    """Identify a channel by what makes messages decode differently."""
    told_by = record.schema_id if schema is None else schema
    return (record.id, record.topic, record.message_encoding, told_by)


def _channel(
    index: int,
    record: ChannelRecord,
    schema: Schema | None,
    message_count: int | None,
    msgtype: str,
) -> Channel:
    definition = None
    if schema is not None and _defines(schema):
        # Real definitions carry Latin-1 in their comments; those bytes may be lost.
        text = str(schema.data, "utf-8", errors="replace")
        definition = embedded_definition(schema.encoding, text)
    return Channel(
        index=index,
        topic=record.topic,
        msgtype=normal_msgtype(msgtype),
        serialization=_serialization(record, schema) or Serialization.CDR,
        definition=definition,
        message_count=message_count,
        qos=record.metadata.get("offered_qos_profiles", ""),
        type_hash=record.metadata.get("topic_type_hash", record.metadata.get("md5sum", "")),
        obstacle=_obstacle(record, schema, msgtype),
    )


def _serialization(record: ChannelRecord, schema: Schema | None) -> Serialization | None:
    """Tell how payloads are laid out; None where that is none of ROS."""
    encoding = record.message_encoding.strip().lower()
    if not encoding and schema is not None and _encoding(schema) in DEFINITION_ENCODINGS:
        # Left out by the writer, and there is only one way to lay out what the schema defines.
        encoding = "ros1" if _encoding(schema) == "ros1msg" else "cdr"
    return SERIALIZATIONS.get(encoding)


def _encoding(schema: Schema) -> str:
    return schema.encoding.strip().lower()


def _defines(schema: Schema) -> bool:
    # An empty text defines a message without fields; but recorders have also written one where
    # they did not find the definition, so only the name can tell.
    return bool(schema.data) or schema.name.endswith("/Empty")


def _obstacle(record: ChannelRecord, schema: Schema | None, msgtype: str) -> str:
    """Say why a channel cannot be decoded whatever its definition; empty where it can."""
    if _serialization(record, schema) is None:
        return f"message encoding {record.message_encoding!r} is not of ROS"
    if schema is None and msgtype:
        return ""
    if record.schema_id == 0:
        return "the channel has no schema"
    if schema is None:
        return f"schema {record.schema_id} is missing in the file"
    if _encoding(schema) not in DEFINITION_ENCODINGS | UNDEFINED_ENCODINGS:
        return f"schema encoding {schema.encoding!r} is not of ROS"
    return ""
