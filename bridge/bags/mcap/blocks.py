"""From the records of a piece of MCAP to blocks of its channels, with arrays only."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import NOWHERE, MixedChannels, ReadLimits, ReadTally
from bridge.bags.mcap.channels import UNKNOWN, ChannelTable
from bridge.bags.mcap.records import (
    HEAD_BYTES,
    MESSAGE_CONTENT_BYTES_MIN,
    OPCODE_PRIVATE_MIN,
    Opcode,
    parse_channel,
    parse_head,
    parse_schema,
)
from bridge.bags.mcap.slicing import MESSAGE_HEAD, Bytes, Offsets, Slices, message_heads
from bridge.errors import DamagedRecordingError

OUT_OF_RANGE = "log_time_out_of_range"
"""The log time does not fit into 63 bits."""

UNKNOWN_CHANNEL = "unknown_channel"
"""No channel record was found for the message's channel id."""

REDECLARED_CHANNEL = "redeclared_channel"
"""The message's channel id was declared again, unannounced by the file's summary."""

TOO_LARGE = "message_too_large"
"""The payload is beyond the limits."""

UNKNOWN_RECORDS = "unknown records"
PRIVATE_RECORDS = "private records"
UNREADABLE = "unreadable declarations"
"""What is counted of records that cannot be used."""

LOG_TIME_MAX_NS = 2**63 - 1


class BlockCutter:
    """Cuts pieces into blocks and keeps count of what was seen.

    Attributes:
        counted: int64, shape (channels,): messages seen of each channel, yielded or skipped.
    """

    def __init__(self, table: ChannelTable, *, limits: ReadLimits, tally: ReadTally) -> None:
        self._table = table
        self._limits = limits
        self._tally = tally
        # The two at the end are for UNKNOWN and REDECLARED, which index from there.
        self._foreign = np.array(
            [*(bool(channel.obstacle) for channel in table.channels), False, False], dtype=np.bool_
        )
        self.counted: NDArray[np.int64] = np.zeros(len(table.channels), dtype=np.int64)

    def cut(self, data: Bytes, slices: Slices) -> Iterator[MixedChannels]:
        """Yield one block of all channels, the messages of each in file order.

        Where an id changes its meaning in the middle, the piece is cut in two there.
        """
        done = 0
        for offset in slices.others:
            if self._changes_meaning(data, offset):
                until = int(np.searchsorted(slices.messages, offset))
                yield from self._blocks(data, slices.messages[done:until])
                done = until
            self._declare(data, offset)
        yield from self._blocks(data, slices.messages[done:])

    def count_too_large(self, head: bytes) -> None:
        """Count a single message, of which there is only the head, as beyond the limits."""
        (message,) = np.frombuffer(head, dtype=MESSAGE_HEAD)
        meaning = int(self._table.current[message["channel"]])
        if meaning >= 0:
            self.counted[meaning] += 1
        self._skip(meaning if meaning >= 0 else NOWHERE, TOO_LARGE, 1)

    def _changes_meaning(self, data: Bytes, offset: int) -> bool:
        opcode, content = _record(data, offset)
        if opcode != Opcode.CHANNEL:
            return False
        try:
            record = parse_channel(content)
        except DamagedRecordingError:
            return False
        return int(self._table.current[record.id]) != self._table.meaning(record)

    def _declare(self, data: Bytes, offset: int) -> None:
        opcode, content = _record(data, offset)
        try:
            if opcode == Opcode.SCHEMA:
                self._table.declare_schema(parse_schema(content))
            elif opcode == Opcode.CHANNEL:
                self._table.declare_channel(parse_channel(content))
            else:
                self._tally.extras[kind_of_unknown(opcode, content, self._table.known)] += 1
        except DamagedRecordingError:
            self._tally.extras[UNREADABLE] += 1

    def _blocks(self, data: Bytes, offsets: Offsets) -> Iterator[MixedChannels]:
        """Cost per message: a gather of 31 bytes, a stable sort of small numbers, 24 bytes out."""
        if not len(offsets):
            return
        heads = message_heads(data, offsets)
        channels = self._table.current[heads["channel"]]
        log_times = heads["log_time"].astype(np.uint64)
        starts = offsets + MESSAGE_HEAD.itemsize
        ends = offsets + (heads["length"].astype(np.int64) + HEAD_BYTES)
        keep = self._keep(channels, log_times, ends - starts)
        if not keep.all():
            channels, log_times = channels[keep], log_times[keep]
            starts, ends = starts[keep], ends[keep]
        times_ns = log_times.astype(np.int64)
        if len(channels) and (channels != channels[0]).any():
            order = np.argsort(channels, kind="stable")
            channels, times_ns = channels[order], times_ns[order]
            starts, ends = starts[order], ends[order]
        if len(channels):
            yield MixedChannels(
                channels=channels.astype(np.int64),
                log_times_ns=times_ns,
                data=data,
                starts=starts,
                ends=ends,
            )

    def _keep(
        self, channels: NDArray[np.int32], log_times: NDArray[np.uint64], sizes: Offsets
    ) -> NDArray[np.bool_]:
        """Tell which messages are yielded; count the others by channel and reason."""
        known = channels >= 0
        if not known.all():
            lost = channels[~known]
            unknown = int(np.count_nonzero(lost == UNKNOWN))
            self._skip(NOWHERE, UNKNOWN_CHANNEL, unknown)
            self._skip(NOWHERE, REDECLARED_CHANNEL, len(lost) - unknown)
        self.counted += np.bincount(channels[known], minlength=len(self.counted))
        keep = known
        for flawed, reason in (
            (self._is_foreign(channels), ""),
            (log_times > LOG_TIME_MAX_NS, OUT_OF_RANGE),
            (sizes > self._limits.message_bytes_max, TOO_LARGE),
        ):
            dropped = keep & flawed
            if dropped.any():
                for index, count in enumerate(np.bincount(channels[dropped])):
                    self._skip(index, reason or self._table.channels[index].obstacle, int(count))
                keep = keep & ~flawed
        return keep

    def _is_foreign(self, channels: NDArray[np.int32]) -> NDArray[np.bool_]:
        if not self._foreign.any():
            return np.zeros(len(channels), dtype=np.bool_)
        return self._foreign[channels]

    def _skip(self, channel: int, reason: str, count: int) -> None:
        if count:
            self._tally.skipped[channel, reason] += count


def kind_of_unknown(opcode: int, content: memoryview, known: NDArray[np.bool_]) -> str:
    """Tell private records, which the format provides for, from what may have been a message.

    Args:
        opcode: That of a record which is neither message nor declaration.
        content: At least the start of its content, as long as a message without payload.
        known: bool, shape (65536,): which channel ids were declared so far.
    """
    is_message = len(content) >= MESSAGE_CONTENT_BYTES_MIN and bool(
        known[int.from_bytes(content[:2], "little")]
    )
    private = opcode >= OPCODE_PRIVATE_MIN and not is_message
    return PRIVATE_RECORDS if private else UNKNOWN_RECORDS


def _record(data: Bytes, offset: int) -> tuple[int, memoryview]:
    view = data.data
    opcode, length = parse_head(view, offset)
    return opcode, view[offset + HEAD_BYTES : offset + HEAD_BYTES + length]
