"""Strings: where they lie, and their bytes as Arrow text, with invalid ones found row by row."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.cdr.cursor import LOST, Cursor, Lone, Move
from bridge.cdr.repeated import LocatedRepeated, is_repeated, may_repeat
from bridge.cdr.source import Positions, Source
from bridge.cdr.steps import Rejects, offsets_of

INVALID_UTF8 = "invalid_utf8"

# UTF-8 by its first byte (RFC 3629, section 4): how many bytes follow, and what the second may be.
# Overlong forms, surrogates and code points beyond U+10FFFF all show in the second byte.
_FOLLOWERS_MAX = 3
_FOLLOWERS = np.zeros(256, dtype=np.int8)
_FOLLOWERS[0xC2:0xE0], _FOLLOWERS[0xE0:0xF0], _FOLLOWERS[0xF0:0xF5] = 1, 2, 3
_IS_CONTINUATION = np.zeros(256, dtype=bool)
_IS_CONTINUATION[0x80:0xC0] = True
_IS_NEVER_VALID = np.zeros(256, dtype=bool)
_IS_NEVER_VALID[0xC0:0xC2] = _IS_NEVER_VALID[0xF5:] = True
_SECOND_MIN = np.full(256, 0x80, dtype=np.uint8)
_SECOND_MIN[0xE0], _SECOND_MIN[0xF0] = 0xA0, 0x90
_SECOND_MAX = np.full(256, 0xBF, dtype=np.uint8)
_SECOND_MAX[0xED], _SECOND_MAX[0xF4] = 0x9F, 0x8F


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStep:
    """A `string`: a length, then that many bytes of UTF-8, in CDR with a NUL behind them.

    Attributes:
        move: The padding before the length.
        bound: The most bytes allowed, without the terminator, or 0.
        terminated: Whether the length includes a NUL. A length of 0 and a missing NUL are
            tolerated as Fast-CDR does when it reads.
    """

    move: Move
    bound: int
    terminated: bool

    def advance(self, cursor: Cursor) -> None:
        """Step behind the string."""
        self.move.apply(cursor.at)
        lengths = cursor.take_lengths()
        cursor.at += lengths
        self._enforce_bound(cursor, lengths)

    def advance_lone(self, lone: Lone) -> None:
        """Step behind the string."""
        lone.at = self.move.applied(lone.at)
        length = lone.take_length()
        lone.at += length
        if self.bound and not lone.lenient and length > self.bound + self.terminated:
            lone.at = LOST

    def locate(self, cursor: Cursor) -> "LocatedText | LocatedRepeated":
        """Step behind the string and remember where its bytes lay."""
        self.move.apply(cursor.at)
        if may_repeat(cursor):
            row = cursor.row(0)
            first = self._locate_each(row)
            size_bytes = int(row.at[0] - cursor.at[0])
            if is_repeated(cursor, size_bytes):
                cursor.at += size_bytes
                return LocatedRepeated(first=first, rows=len(cursor))
        return self._locate_each(cursor)

    def _locate_each(self, cursor: Cursor) -> "LocatedText":
        lengths = cursor.take_lengths()
        starts = cursor.where()
        cursor.at += lengths
        self._enforce_bound(cursor, lengths)
        return LocatedText(text=self, starts=starts, lengths=lengths)

    def _enforce_bound(self, cursor: Cursor, lengths: Positions) -> None:
        if self.bound and not cursor.lenient:
            bad = lengths > self.bound + self.terminated
            if bad.any():
                cursor.lose(bad)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedText:
    """A string's bytes in every row: starts and lengths (terminators included), shape (n,)."""

    text: TextStep
    starts: Positions
    lengths: Positions

    def gather(self, source: Source, rejects: Rejects) -> list[pa.Array]:
        """Copy the bytes out as one Arrow string array."""
        lengths = self.lengths
        if self.text.terminated and len(lengths):
            lasts = np.maximum(self.starts + lengths - 1, 0)
            lengths = lengths - ((source.data[lasts] == 0) & (lengths > 0))
        return [text_array(source, self.starts, lengths, rejects)]


def text_array(source: Source, starts: Positions, lengths: Positions, rejects: Rejects) -> pa.Array:
    """Copy byte ranges, shape (n,), into a string array; rows that are not UTF-8 are rejected.

    Cost: one copy, one validation. Only where something is invalid it is all done again.
    """
    raw = _binary_array(source, starts, lengths)
    try:
        return pc.cast(raw, pa.string())
    except pa.ArrowInvalid:
        bad = invalid_utf8(
            np.frombuffer(raw.buffers()[2], dtype=np.uint8),
            np.frombuffer(raw.buffers()[1], dtype=np.int32, count=len(raw) + 1),
        )
        rejects.add(INVALID_UTF8, bad)
        return pc.cast(_binary_array(source, starts, np.where(bad, 0, lengths)), pa.string())


def _binary_array(source: Source, starts: Positions, lengths: Positions) -> pa.Array:
    count = len(starts)
    return pa.Array.from_buffers(
        pa.binary(),
        count,
        [None, pa.py_buffer(offsets_of(lengths)), source.ragged(starts, lengths)],
    )


def invalid_utf8(data: NDArray[np.uint8], offsets: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Mark the rows of a binary array that are not UTF-8.

    Each row is followed by NULs in a private copy, as many as can be missing from a sequence, so
    that one cut by the end of its row is blamed on that row. Cost: some twenty passes over the
    bytes; used only when something is known to be wrong.

    Args:
        data: uint8, shape (m,): the bytes of all rows.
        offsets: int32, shape (n + 1,).

    Returns:
        bool, shape (n,).
    """
    count = len(offsets) - 1
    lengths = np.diff(offsets)
    size = int(offsets[-1])
    guarded = np.zeros(size + count * _FOLLOWERS_MAX, dtype=np.uint8)
    rows = np.repeat(np.arange(count), lengths)
    guarded[np.arange(size) + rows * _FOLLOWERS_MAX] = data[:size]
    wanted = _FOLLOWERS[guarded]
    continues = _IS_CONTINUATION[guarded]
    expected = np.zeros(len(guarded), dtype=bool)
    for distance in range(1, _FOLLOWERS_MAX + 1):
        expected[distance:] |= wanted[:-distance] >= distance
    bad = (continues != expected) | _IS_NEVER_VALID[guarded]
    lead, second = guarded[:-1], guarded[1:]
    bad[:-1] |= (wanted[:-1] > 0) & ((second < _SECOND_MIN[lead]) | (second > _SECOND_MAX[lead]))
    behind = offsets[1:] + np.arange(1, count + 1) * _FOLLOWERS_MAX
    rows_bad = np.zeros(count, dtype=bool)
    rows_bad[np.searchsorted(behind, np.flatnonzero(bad), side="right")] = True
    return rows_bad
