"""The declarations of a ROS 1 bag: its first record, its connections, its index section."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from bridge.bags.container import Channel, ReadLimits
from bridge.bags.rosbag1.records import Op, Record, fields_of, record_at
from bridge.bags.rosbag1.walk import COUNT_BYTES, Gap, walk
from bridge.bags.source import Source
from bridge.definitions import normal_msgtype
from bridge.errors import RecordingLimitError
from bridge.facade import later
from bridge.model import Definition, Serialization
from bridge.units import SECOND_NS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    # Who only looks for recordings starts without it.
    np = later("numpy")

NO_TYPE = "*"
"""The type that a recorder writes for a topic of unknown type."""

LATCHING = "latching: true\n"
"""What a connection's QoS is where its publisher latches."""

REDECLARED = "connections declared twice with different content, the first is used"


@dataclass(slots=True, kw_only=True)
class Connections:
    """The connections of a bag as they are found.

    Attributes:
        limits: How many there may be, and how long their definitions.
        channels: Channel by connection id, in the order of their first declaration.
        counts: Messages by connection id, where an index or a scan has found them.
        nameless: The connections that name no publisher.
        extras: Counts what is odd.
    """

    limits: ReadLimits
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    nameless: set[int] = field(default_factory=set)
    extras: Counter[str] = field(default_factory=Counter)

    def declare(self, record: Record, data: bytes) -> None:
        """Take note of a connection record.

        Raises:
            RecordingLimitError: There are more than allowed.
        """
        channel = _channel(len(self.channels), record, data, self.limits)
        known = self.channels.get(record.number("conn"))
        if known is None:
            if len(self.channels) >= self.limits.channels_max:
                raise RecordingLimitError(
                    f"the file declares more than {self.limits.channels_max} connections "
                    "(reading.channels_max)"
                )
            self.channels[record.number("conn")] = channel
            if "callerid" not in (fields_of(data) or {}):
                self.nameless.add(record.number("conn"))
        elif (known.topic, known.definition) != (channel.topic, channel.definition):
            self.extras[REDECLARED] += 1

    def forget_counts(self) -> None:
        """Start counting again."""
        self.counts.clear()

    def count(self, connections: NDArray[np.int64]) -> None:
        """Count messages.

        Args:
            connections: int64, shape (n,): the connection of each message.
        """
        for connection, count in zip(*np.unique(connections, return_counts=True), strict=True):
            self.counts[int(connection)] += int(count)


def _channel(index: int, record: Record, data: bytes, limits: ReadLimits) -> Channel:
    """Describe a connection; the record's own header has the topic as it was recorded."""
    told = fields_of(data) or {}
    text = told.get("message_definition", b"").decode("utf-8", "replace")
    msgtype = told.get("type", b"").decode("utf-8", "replace")
    usable = msgtype not in {"", NO_TYPE} and len(text) <= limits.definition_bytes_max
    return Channel(
        index=index,
        topic=record.text("topic"),
        msgtype=normal_msgtype(msgtype),
        serialization=Serialization.ROS1,
        definition=Definition(encoding="ros1msg", text=text) if usable else None,
        qos=LATCHING if told.get("latching") == b"1" else "",
        type_hash=told.get("md5sum", b"").decode("utf-8", "replace"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BagHeader:
    """The first record of a bag.

    Attributes:
        index_pos: Where the index section starts; 0 where the bag was never closed.
        chunk_count: How many chunks the index section lists.
        encryptor: The plugin that encrypted the bag; empty for all bags that can be read.
        end: Where the first record ends.
    """

    index_pos: int
    chunk_count: int
    encryptor: str
    end: int


def read_header(source: Source, start: int) -> BagHeader | None:
    """Read the first record; None where it is damaged."""
    record = record_at(source, start, source.size_bytes)
    if record is None or record.op is not Op.BAG or record.end > source.size_bytes:
        return None
    return BagHeader(
        index_pos=record.number("index_pos"),
        chunk_count=record.number("chunk_count") if "chunk_count" in record.fields else 0,
        encryptor=record.text("encryptor") if "encryptor" in record.fields else "",
        end=record.end,
    )


class Index(Enum):
    """What the index section of a bag is good for.

    `MISSING`: it is not where the first record says, or it is damaged. `CONTRADICTORY`: it is
    there, so the bag was closed, but its numbers do not fit each other. `WHOLE`: it is there.
    """

    MISSING = auto()
    CONTRADICTORY = auto()
    WHOLE = auto()


def read_spans(source: Source, header: BagHeader) -> list[tuple[int, int]]:
    """Read the first and last record time, in ns, of each chunk that the index section lists."""
    spans: list[tuple[int, int]] = []
    if not header.end <= header.index_pos <= source.size_bytes:
        return spans
    for piece in walk(source, header.index_pos, source.size_bytes):
        if isinstance(piece, Gap):
            if piece.zeros:
                continue
            break
        if piece.op is Op.CHUNK_INFO and piece.fields.keys() >= {"start_time", "end_time"}:
            start_ns, end_ns = (
                piece.number(name) % (1 << 32) * SECOND_NS + (piece.number(name) >> 32)
                for name in ("start_time", "end_time")
            )
            spans.append((start_ns, end_ns))
    return spans


def read_index(source: Source, header: BagHeader, connections: Connections) -> Index:
    """Read the index section: all connections, and how many messages each chunk has of them."""
    if not header.end <= header.index_pos <= source.size_bytes:
        return Index.MISSING
    chunks = 0
    for piece in walk(source, header.index_pos, source.size_bytes):
        if isinstance(piece, Gap):
            if piece.zeros and connections.channels:
                # Room made in advance, or a hole; whether something was in it shows in the counts.
                continue
            return Index.MISSING
        data = source.read_at(piece.data_start, piece.end - piece.data_start)
        if piece.op is Op.CONNECTION:
            connections.declare(piece, data)
        elif piece.op is Op.CHUNK_INFO:
            chunks += 1
            whole_bytes = len(data) - len(data) % COUNT_BYTES
            for connection, count in struct.iter_unpack("<II", data[:whole_bytes]):
                connections.counts[connection] += count
        else:
            return Index.MISSING
    if chunks == header.chunk_count and set(connections.counts) <= set(connections.channels):
        return Index.WHOLE
    return Index.CONTRADICTORY
