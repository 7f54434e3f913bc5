"""Blocks of raw messages -> Arrow columns, by plans compiled once per message type."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cdr.cursor import Cursor
from bridge.cdr.layout import (
    CDR1_RULES,
    CDR2_RULES,
    EIGHT_BYTES,
    PRIMITIVES,
    ROS1_RULES,
    SLACK_BYTES_MAX,
    SLACK_SHARE,
    SLACK_SHARE_BYTES_MAX,
    Encapsulation,
    Rules,
    Wide,
)
from bridge.cdr.plan import Plan, compile_plan, is_empty
from bridge.cdr.source import Source
from bridge.cdr.steps import Repairs
from bridge.definitions import WIDE
from bridge.errors import DecodeError
from bridge.model import (
    ENCAPSULATION_BYTES,
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
MUTABLE_ENCAPSULATION = "mutable_encapsulation"
ALIGNED_TO_FOUR = "aligned_to_four"

PAYLOAD_BYTES_MAX = ((1 << 31) - 1) * 2 // 3
"""The most payload bytes of a block, so that no column outgrows Arrow's 32-bit offsets.

Wide strings grow by half when they become UTF-8; nothing else grows.
"""

SAMPLE_ROWS = 256
"""How many messages of a block are looked at to find out how it was written."""

_CLOSE_BYTES = 4
"""Writers pad payloads to a multiple of this, so fewer bytes may be left behind the last field."""

_DELIMITED_RULES = replace(CDR2_RULES, delimited_root=True)
_RULES: Mapping[Encapsulation, Rules] = {
    Encapsulation.CDR_BE: CDR1_RULES,
    Encapsulation.CDR_LE: CDR1_RULES,
    Encapsulation.CDR2_BE: CDR2_RULES,
    Encapsulation.CDR2_LE: CDR2_RULES,
    Encapsulation.D_CDR2_BE: _DELIMITED_RULES,
    Encapsulation.D_CDR2_LE: _DELIMITED_RULES,
}
_BIG_ENDIAN = frozenset({Encapsulation.CDR_BE, Encapsulation.CDR2_BE, Encapsulation.D_CDR2_BE})


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
    """What became of a batch.

    Attributes:
        rows: int64, shape (n,): the rows that survived.
        messages: Their values.
        leftover: How many of them have more behind their last field than padding.
        repaired: In how many of them something was replaced, by reason.
        implausible: How many characters no text would have.
    """

    rows: NDArray[np.int64]
    messages: pa.Array
    leftover: int
    repaired: Mapping[str, int]
    implausible: int


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
        self.depends_on_neighbours = _uses(message_type, _is_wide)
        self._has_eights = _uses(message_type, _has_eight_bytes)
        rules = ROS1_RULES if serialization is Serialization.ROS1 else CDR1_RULES
        self.arrow_type: pa.StructType = self._plan(rules).shape.type

    def decode(self, block: MessageBlock) -> DecodedBlock:
        """Decode every message of a block that can be decoded.

        A message that cannot be decoded is left out alone and counted by reason: `truncated` (its
        payload ends before its fields do, or a length in it says so), `bound_exceeded` (a sequence
        is longer than declared), `mutable_encapsulation` (members with numbers in front, in any
        order), `unsupported_encapsulation`. Bytes behind the last field are padding up to the slack
        that rclpy leaves. A message with more is kept, since what was read of it fits, but counted
        as `leftover`: its definition lacks something.

        Text that is not UTF-8 or UTF-16 is kept with U+FFFD in place of what is wrong; such
        messages are counted as `repaired`, by reason: `invalid_utf8`, `invalid_utf16`. So are those
        of a writer that aligns to four bytes where it announces eight, `aligned_to_four`.

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
            self._decode_batch(block, batch, dropped) for batch in self._batches(block, dropped)
        ]
        rows, messages = self._in_order(parts)
        repaired: Counter[str] = Counter()
        for part in parts:
            repaired.update(part.repaired)
        return DecodedBlock(
            log_times_ns=block.log_times_ns[rows],
            messages=messages,
            dropped=dropped,
            leftover=sum(part.leftover for part in parts),
            repaired=repaired,
        )

    def _decode_batch(self, block: MessageBlock, batch: _Batch, dropped: Counter[str]) -> _Part:
        """Decode rows; where none of them fits the rules announced, try those next to them."""
        misfits: Counter[str] = Counter()
        part = _decode_rows(self._plan(batch.rules), block, batch, misfits)
        if not len(part.rows) and self._has_eights and batch.rules.alignment_max == EIGHT_BYTES:
            packed = replace(batch, rules=replace(batch.rules, alignment_max=EIGHT_BYTES // 2))
            if self._ends_exactly(block, packed):
                part = _decode_rows(self._plan(packed.rules), block, packed, Counter())
                repaired = {**part.repaired, ALIGNED_TO_FOUR: len(part.rows)}
                return replace(part, repaired=repaired)
        dropped.update(misfits)
        return part

    def _ends_exactly(self, block: MessageBlock, batch: _Batch) -> bool:
        """Tell whether every row ends with its last field."""
        cursor = batch.cursor(block)
        for step in self._plan(batch.rules).steps:
            step.advance(cursor)
        return not (cursor.at != cursor.end).any()

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
            swap = _is_swapped(big=identifier in _BIG_ENDIAN)
            if is_empty(self.message_type):
                batches += _by_dummy(block, rows, _RULES[identifier], swap=swap)
                continue
            candidates = self._candidates(_RULES[identifier])
            batch = _Batch(rows=rows, rules=candidates[0], swap=swap)
            batches.append(batch if len(candidates) == 1 else self._best(block, batch, candidates))
        return batches

    def _candidates(self, rules: Rules) -> list[Rules]:
        """List the rules that payloads of one encapsulation may follow, the likeliest first."""
        found = [rules]
        if rules.delimited and _is_extensible(self.message_type, root=rules.delimited_root):
            likely = rules.delimited_root
            found = [replace(rules, appendable=appendable) for appendable in (likely, not likely)]
        if self.depends_on_neighbours:
            found = [each.with_wide(wide) for each in found for wide in Wide]
        return found

    def _best(self, block: MessageBlock, batch: _Batch, candidates: list[Rules]) -> _Batch:
        """Choose the rules by which a sample of the block makes most sense.

        First that messages fit at all, then that their texts are texts, then that they end where
        their payloads do: what rclpy writes has slack behind it, and a text read with the wrong
        width of its characters is full of NULs and of values that are no characters.
        """
        stride = max(len(batch.rows) // SAMPLE_ROWS, 1)
        sample = replace(batch, rows=batch.rows[::stride][:SAMPLE_ROWS])
        scores = {}
        for rules in candidates:
            tried = replace(sample, rules=rules)
            part = _decode_rows(self._plan(rules), block, tried, Counter())
            cursor = replace(tried, rows=part.rows).cursor(block)
            for step in self._plan(rules).steps:
                step.advance(cursor)
            left = cursor.end - cursor.at
            exact, close = left == 0, left < _CLOSE_BYTES
            ends = int(exact.sum()) + int(close.sum())
            odd = part.implausible + _zero_bytes(part.messages)
            scores[rules] = (len(part.rows), -odd, ends, -int(left.sum()))
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


def _uses(kind: FieldType, says: Callable[[PrimitiveType], bool]) -> bool:
    """Tell whether a type has a primitive of some kind anywhere."""
    if isinstance(kind, PrimitiveType):
        return says(kind)
    if isinstance(kind, MessageType):
        return any(_uses(member, says) for _, member in kind.fields)
    return _uses(kind.element, says)


def _is_wide(kind: PrimitiveType) -> bool:
    return kind.name in WIDE


def _has_eight_bytes(kind: PrimitiveType) -> bool:
    return kind.name in PRIMITIVES and PRIMITIVES[kind.name].alignment == EIGHT_BYTES


def _zero_bytes(column: pa.Array) -> int:
    """Count the NULs in all texts of a nested column."""
    if pa.types.is_struct(column.type):
        return sum(_zero_bytes(child) for child in column.flatten())
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return _zero_bytes(column.flatten())
    if not pa.types.is_string(column.type):
        return 0
    _, offsets, content = column.buffers()
    if content is None or not len(column):
        return 0
    # The buffer may be larger than its texts.
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    text = np.frombuffer(content, np.uint8)[bounds[0] : bounds[-1]]
    return len(text) - int(np.count_nonzero(text))


def _is_extensible(kind: FieldType, *, root: bool) -> bool:
    """Tell whether messages below one do not say if they are appendable, but may be.

    Args:
        kind: The message.
        root: Whether the message itself starts with its size. Where it does not and does not say
            either, everything that says nothing is final, as it is.
    """
    if isinstance(kind, MessageType) and not (root or kind.extensibility):
        return False
    members = [member for _, member in kind.fields] if isinstance(kind, MessageType) else []
    return any(_has_silent(member) for member in members)


def _has_silent(kind: FieldType) -> bool:
    if isinstance(kind, MessageType):
        return not kind.extensibility or any(_has_silent(member) for _, member in kind.fields)
    return not isinstance(kind, PrimitiveType) and _has_silent(kind.element)


def _is_swapped(*, big: bool) -> bool:
    return big != (sys.byteorder == "big")


def _by_dummy(
    block: MessageBlock, rows: NDArray[np.int64], rules: Rules, *, swap: bool
) -> list[_Batch]:
    """Sort the rows of a message without fields by whether its dummy byte was written.

    Writers that are none of ROS 2 leave it out, as the definition shows none.
    """
    bare = (block.ends - block.starts)[rows] == rules.header_bytes
    without = replace(rules, dummy_member=False, delimited_root=False)
    found = [(rows[~bare], rules), (rows[bare], without)]
    return [_Batch(rows=part, rules=each, swap=swap) for part, each in found if len(part)]


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
        if not left:
            break
        mask = identifiers == identifier
        count = int(np.count_nonzero(mask))
        if not count:
            continue
        left -= count
        if identifier in _RULES:
            found.append((identifier, rows if count == len(rows) else rows[mask]))
        else:
            dropped[MUTABLE_ENCAPSULATION] += count
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
    repairs = Repairs(len(batch.rows))
    leaves = iter([leaf for part in located for leaf in part.gather(cursor.source, repairs)])
    return _Part(
        rows=batch.rows,
        messages=plan.shape.build(leaves, len(batch.rows)),
        leftover=_leftover(cursor, batch.rules),
        repaired={
            reason: int(np.count_nonzero(rows)) for reason, rows in repairs.by_reason.items()
        },
        implausible=repairs.implausible,
    )


def _leftover(cursor: Cursor, rules: Rules) -> int:
    """Count the rows that have more behind their last field than padding and slack."""
    left = cursor.end - cursor.at
    over = left > rules.slack_bytes_max
    if rules.slack_bytes_max == SLACK_BYTES_MAX and over.any():
        share = np.minimum(cursor.end // SLACK_SHARE, SLACK_SHARE_BYTES_MAX)
        over = left > SLACK_BYTES_MAX + share
    return int(np.count_nonzero(over))


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
