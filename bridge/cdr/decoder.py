"""Blocks of raw messages -> Arrow columns, by plans compiled once per message type."""

import sys
from collections import Counter
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.cursor import Cursor
from bridge.cdr.layout import (
    CDR1_RULES,
    CDR2_RULES,
    ENCAPSULATION_BYTES,
    ROS1_RULES,
    Encapsulation,
)
from bridge.cdr.plan import Plan, compile_plan
from bridge.cdr.rejects import Rejects
from bridge.cdr.source import Positions, Source
from bridge.model import DecodedBlock, MessageBlock, MessageType, Serialization

TRUNCATED = "truncated"
BOUND_EXCEEDED = "bound_exceeded"
UNSUPPORTED_ENCAPSULATION = "unsupported_encapsulation"

_BIG_ENDIAN = frozenset({Encapsulation.CDR_BE, Encapsulation.CDR2_BE})
_VERSION_2 = frozenset({Encapsulation.CDR2_BE, Encapsulation.CDR2_LE})


class Decoder:
    """Decodes the messages of one type.

    Attributes:
        message_type: The type.
        serialization: How payloads are laid out.
        arrow_type: The struct that `decode` fills: the fields of the message in ROS terms, all
            nullable and never null.
    """

    def __init__(
        self, message_type: MessageType, *, serialization: Serialization = Serialization.CDR
    ) -> None:
        self.message_type = message_type
        self.serialization = serialization
        rules = ROS1_RULES if serialization is Serialization.ROS1 else CDR1_RULES
        self._plan = compile_plan(message_type, rules)
        self.arrow_type: pa.StructType = self._plan.shape.type

    @cached_property
    def _plan_2(self) -> Plan:
        return compile_plan(self.message_type, CDR2_RULES)

    def decode(self, block: MessageBlock) -> DecodedBlock:
        """Decode every message of a block that can be decoded.

        A message that cannot be decoded is left out alone and counted by reason: `truncated` (its
        payload ends before its fields do, or a length in it says so), `bound_exceeded` (a string
        or sequence is longer than declared), `invalid_utf8`, `unsupported_encapsulation`. Bytes
        behind the last field are ignored: writers pad, and a definition may lack fields that
        were appended later.

        Cost: linear in bytes; a few numpy operations per field of the definition, and per rank of
        sequences of elements of varying size; one copy of large payloads.
        """
        dropped: Counter[str] = Counter()
        if self.serialization is Serialization.ROS1:
            rows = np.arange(len(block.starts))
            rows, messages = _decode_rows(
                self._plan,
                block,
                rows,
                header_bytes=0,
                swap=_is_swapped(big=False),
                dropped=dropped,
            )
            return DecodedBlock(
                log_times_ns=block.log_times_ns[rows], messages=messages, dropped=dropped
            )
        parts: list[tuple[NDArray[np.int64], pa.Array]] = []
        for identifier, rows in _by_encapsulation(block, dropped):
            parts.append(
                _decode_rows(
                    self._plan_2 if identifier in _VERSION_2 else self._plan,
                    block,
                    rows,
                    header_bytes=ENCAPSULATION_BYTES,
                    swap=_is_swapped(big=identifier in _BIG_ENDIAN),
                    dropped=dropped,
                )
            )
        rows, messages = self._in_order(parts)
        return DecodedBlock(
            log_times_ns=block.log_times_ns[rows], messages=messages, dropped=dropped
        )

    def _in_order(
        self, parts: list[tuple[NDArray[np.int64], pa.Array]]
    ) -> tuple[NDArray[np.int64], pa.Array]:
        """Put rows that were decoded by different rules back into the order of the block."""
        if not parts:
            return np.empty(0, dtype=np.int64), pa.array([], type=self.arrow_type)
        if len(parts) == 1:
            return parts[0]
        rows = np.concatenate([rows for rows, _ in parts])
        order = np.argsort(rows, kind="stable")
        messages = pa.concat_arrays([messages for _, messages in parts])
        return rows[order], messages.take(pa.array(order))


def _is_swapped(*, big: bool) -> bool:
    return big != (sys.byteorder == "big")


def _by_encapsulation(
    block: MessageBlock, dropped: Counter[str]
) -> list[tuple[Encapsulation, NDArray[np.int64]]]:
    """Sort the rows of a block by the identifier in their first two bytes, dropping unknown ones."""
    rows = np.flatnonzero(block.ends - block.starts >= ENCAPSULATION_BYTES)
    if len(rows) < len(block.starts):
        dropped[TRUNCATED] += len(block.starts) - len(rows)
    starts = block.starts[rows]
    identifiers = (block.data[starts].astype(np.int64) << 8) | block.data[starts + 1]
    found = []
    left = len(rows)
    for identifier in Encapsulation:
        mask = identifiers == identifier
        count = int(np.count_nonzero(mask))
        if count:
            found.append((identifier, rows if count == len(rows) else rows[mask]))
            left -= count
    if left:
        dropped[UNSUPPORTED_ENCAPSULATION] += left
    return found


def _decode_rows(
    plan: Plan,
    block: MessageBlock,
    rows: NDArray[np.int64],
    *,
    header_bytes: int,
    swap: bool,
    dropped: Counter[str],
) -> tuple[NDArray[np.int64], pa.Array]:
    """Decode the chosen rows of a block; give the rows that survived, and their values.

    The walk is repeated without the bad rows where there are any, so that what is copied out
    needs no checks.
    """
    source = Source(block.data, swap=swap)
    origin = block.starts[rows] + header_bytes
    end = block.ends[rows] - origin
    while True:
        cursor = Cursor(source, origin, end, np.zeros(len(rows), dtype=np.int64))
        located = [step.locate(cursor) for step in plan.steps]
        bad = cursor.at > end
        if not bad.any():
            break
        _count_misfits(plan, source, origin[bad], end[bad], dropped)
        rows, origin, end = rows[~bad], origin[~bad], end[~bad]
    rejects = Rejects(len(rows))
    leaves = iter([leaf for part in located for leaf in part.gather(source, rejects)])
    messages = plan.shape.build(leaves, len(rows))
    if rejects.by_reason:
        good = np.ones(len(rows), dtype=bool)
        for reason, invalid in rejects.by_reason.items():
            dropped[reason] += int(np.count_nonzero(invalid & good))
            good &= ~invalid
        rows, messages = rows[good], messages.filter(pa.array(good))
    return rows, messages


def _count_misfits(
    plan: Plan, source: Source, origin: Positions, end: Positions, dropped: Counter[str]
) -> None:
    """Tell why walkers left their payloads: those that stay inside without bounds broke one."""
    cursor = Cursor(source, origin, end, np.zeros(len(origin), dtype=np.int64), lenient=True)
    for step in plan.steps:
        step.advance(cursor)
    fits = int(np.count_nonzero(cursor.at <= end))
    if fits:
        dropped[BOUND_EXCEEDED] += fits
    if fits < len(origin):
        dropped[TRUNCATED] += len(origin) - fits
