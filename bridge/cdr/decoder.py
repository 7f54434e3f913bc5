"""Blocks of raw messages -> Arrow columns, by plans compiled once per message type."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

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
    Rules,
    Wide,
)
from bridge.cdr.plan import Plan, compile_plan
from bridge.cdr.source import Source
from bridge.cdr.steps import Rejects
from bridge.definitions import WIDE
from bridge.errors import DecodeError
from bridge.model import (
    DecodedBlock,
    FieldType,
    MessageBlock,
    MessageType,
    PrimitiveType,
    Serialization,
)

TRUNCATED = "truncated"
BOUND_EXCEEDED = "bound_exceeded"
UNSUPPORTED_ENCAPSULATION = "unsupported_encapsulation"

PAYLOAD_BYTES_MAX = ((1 << 31) - 1) * 2 // 3
"""The most payload bytes of a block, so that no column outgrows Arrow's 32-bit offsets.

Wide strings grow by half when they become UTF-8; nothing else grows.
"""

WIDE_SAMPLE_ROWS = 256
"""How many messages of a block are looked at to tell how its wide characters are written."""

_PADDING_UNIT_BYTES = 4
"""Writers pad payloads to a multiple of this, so fewer bytes may be left behind the last field."""

_RULES: Mapping[Encapsulation, Rules] = {
    Encapsulation.CDR_BE: CDR1_RULES,
    Encapsulation.CDR_LE: CDR1_RULES,
    Encapsulation.CDR2_BE: CDR2_RULES,
    Encapsulation.CDR2_LE: CDR2_RULES,
}
_BIG_ENDIAN = frozenset({Encapsulation.CDR_BE, Encapsulation.CDR2_BE})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Rows of a block that are decoded alike.

    Attributes:
        rows: int64, shape (n,): indices into the block.
        rules: How they are laid out.
        swap: Whether their byte order is the other one.
    """

    rows: NDArray[np.int64]
    rules: Rules
    swap: bool

    def cursor(self, block: MessageBlock, *, lenient: bool = False) -> Cursor:
        """Stand in front of the first field of every row."""
        origin = block.starts[self.rows] + self.rules.header_bytes
        return Cursor(
            Source(block.data, swap=self.swap),
            origin,
            block.ends[self.rows] - origin,
            np.zeros(len(self.rows), dtype=np.int64),
            lenient,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What became of a batch: the rows that survived, their values, and how many have leftovers."""

    rows: NDArray[np.int64]
    messages: pa.Array
    leftover: int


class Decoder:
    """Decodes the messages of one type.

    Plans are compiled when they are first needed and kept; nothing else is remembered from block
    to block.

    Attributes:
        message_type: The type.
        serialization: How payloads are laid out.
        arrow_type: The struct that `decode` fills: the fields of the message in ROS terms, all
            nullable and never null.
        depends_on_neighbours: Whether a message is decoded by what others in its block look like,
            as the layout of wide characters is; such blocks must be of one topic.

    Raises:
        DefinitionError: The type has too many values that are not on the wire.
    """

    def __init__(
        self, message_type: MessageType, *, serialization: Serialization = Serialization.CDR
    ) -> None:
        self.message_type = message_type
        self.serialization = serialization
        self._plans: dict[Rules, Plan] = {}
        self.depends_on_neighbours = _uses_wide(message_type)
        rules = ROS1_RULES if serialization is Serialization.ROS1 else CDR1_RULES
        self.arrow_type: pa.StructType = self._plan(rules).shape.type

    def decode(self, block: MessageBlock) -> DecodedBlock:
        """Decode every message of a block that can be decoded.

        A message that cannot be decoded is left out alone and counted by reason: `truncated` (its
        payload ends before its fields do, or a length in it says so), `bound_exceeded` (a string
        or sequence is longer than declared), `invalid_utf8`, `invalid_utf16`,
        `unsupported_encapsulation`. Up to three bytes behind the last field are padding. A message
        with more is kept, since what was read of it fits, but counted as `leftover`: its
        definition lacks something.

        Cost: linear in bytes; a few numpy operations per field of the definition, and per rank of
        sequences of elements of varying size; one copy of large payloads.

        Raises:
            DecodeError: The payloads together are beyond what Arrow's 32-bit offsets can address.
        """
        payload_bytes = int((block.ends - block.starts).sum())
        if payload_bytes > PAYLOAD_BYTES_MAX:
            raise DecodeError(
                f"A block of {payload_bytes} payload bytes cannot be decoded in one piece;"
                f" {PAYLOAD_BYTES_MAX} is the most."
            )
        dropped: Counter[str] = Counter()
        parts = [
            _decode_rows(self._plan(batch.rules), block, batch, dropped)
            for batch in self._batches(block, dropped)
        ]
        rows, messages = self._in_order(parts)
        return DecodedBlock(
            log_times_ns=block.log_times_ns[rows],
            messages=messages,
            dropped=dropped,
            leftover=sum(part.leftover for part in parts),
        )

    def _plan(self, rules: Rules) -> Plan:
        plan = self._plans.get(rules)
        if plan is None:
            plan = self._plans[rules] = compile_plan(self.message_type, rules)
        return plan

    def _batches(self, block: MessageBlock, dropped: Counter[str]) -> list[_Batch]:
        """Group the rows of a block that are decoded by the same rules."""
        if self.serialization is Serialization.ROS1:
            rows = np.arange(len(block.starts))
            return [_Batch(rows=rows, rules=ROS1_RULES, swap=_is_swapped(big=False))]
        batches = []
        for identifier, rows in _by_encapsulation(block, dropped):
            rules, swap = _RULES[identifier], _is_swapped(big=identifier in _BIG_ENDIAN)
            batch = _Batch(rows=rows, rules=rules, swap=swap)
            batches.append(self._best_wide(block, batch) if self.depends_on_neighbours else batch)
        return batches

    def _best_wide(self, block: MessageBlock, batch: _Batch) -> _Batch:
        """Choose the layout of wide characters by which most messages end where they should."""
        sample = replace(batch, rows=batch.rows[:WIDE_SAMPLE_ROWS])
        scores = {}
        for wide in Wide:
            rules = batch.rules.with_wide(wide)
            cursor = sample.cursor(block)
            for step in self._plan(rules).steps:
                step.advance(cursor)
            left = cursor.end - cursor.at
            exact, close = left == 0, (left >= 0) & (left < _PADDING_UNIT_BYTES)
            scores[rules] = int(exact.sum()) + int(close.sum())
        return replace(batch, rules=max(scores, key=scores.__getitem__))

    def _in_order(self, parts: list[_Part]) -> tuple[NDArray[np.int64], pa.Array]:
        """Put rows that were decoded by different rules back into the order of the block."""
        if not parts:
            return np.empty(0, dtype=np.int64), pa.array([], type=self.arrow_type)
        if len(parts) == 1:
            return parts[0].rows, parts[0].messages
        rows = np.concatenate([part.rows for part in parts])
        order = np.argsort(rows, kind="stable")
        messages = pa.concat_arrays([part.messages for part in parts])
        return rows[order], messages.take(pa.array(order))


def _uses_wide(kind: FieldType) -> bool:
    if isinstance(kind, PrimitiveType):
        return kind.name in WIDE
    if isinstance(kind, MessageType):
        return any(_uses_wide(member) for _, member in kind.fields)
    return _uses_wide(kind.element)


def _is_swapped(*, big: bool) -> bool:
    return big != (sys.byteorder == "big")


def _by_encapsulation(
    block: MessageBlock, dropped: Counter[str]
) -> list[tuple[Encapsulation, NDArray[np.int64]]]:
    """Sort the rows of a block by the identifier they begin with, dropping unknown ones."""
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


def _decode_rows(plan: Plan, block: MessageBlock, batch: _Batch, dropped: Counter[str]) -> _Part:
    """Decode the rows of a batch.

    The walk is repeated without the bad rows where there are any, so that what is copied out
    needs no checks.
    """
    while True:
        cursor = batch.cursor(block)
        located = [step.locate(cursor) for step in plan.steps]
        bad = cursor.at > cursor.end
        if not bad.any():
            break
        _count_misfits(plan, block, replace(batch, rows=batch.rows[bad]), dropped)
        batch = replace(batch, rows=batch.rows[~bad])
    rows = batch.rows
    rejects = Rejects(len(rows))
    leaves = iter([leaf for part in located for leaf in part.gather(cursor.source, rejects)])
    messages = plan.shape.build(leaves, len(rows))
    has_leftover = cursor.end - cursor.at >= _PADDING_UNIT_BYTES
    if rejects.by_reason:
        good = np.ones(len(rows), dtype=bool)
        for reason, invalid in rejects.by_reason.items():
            dropped[reason] += int(np.count_nonzero(invalid & good))
            good &= ~invalid
        rows, messages = rows[good], messages.filter(pa.array(good))
        has_leftover &= good
    leftover = int(np.count_nonzero(has_leftover))
    return _Part(rows=rows, messages=messages, leftover=leftover)


def _count_misfits(plan: Plan, block: MessageBlock, batch: _Batch, dropped: Counter[str]) -> None:
    """Tell why walkers left their payloads: those that stay inside without bounds broke one."""
    cursor = batch.cursor(block, lenient=True)
    for step in plan.steps:
        step.advance(cursor)
    fits = int(np.count_nonzero(cursor.at <= cursor.end))
    if fits:
        dropped[BOUND_EXCEEDED] += fits
    if fits < len(batch.rows):
        dropped[TRUNCATED] += len(batch.rows) - fits
